// Puts every file below a directory into a cacache: node cacache_put.cjs CACHE TREE
const cacache = require("cacache");
const fs = require("fs");
const path = require("path");

const [cache, tree] = process.argv.slice(2);

async function putAll(directory) {
  for (const entry of fs.readdirSync(directory, { withFileTypes: true })) {
    const found = path.join(directory, entry.name);
    if (entry.isDirectory()) await putAll(found);
    else await cacache.put(cache, path.relative(tree, found), fs.readFileSync(found));
  }
}

putAll(tree);
