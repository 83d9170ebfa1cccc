"""What the store returns: frozen records, with positional arguments in the order shown.

Constructing a record validates nothing; only ``parse`` does. Hashes are 64 lowercase hexadecimal
characters; tuples of hashes are ascending and unique.
"""

from agent_world_distfs.records.entries import (
    BlobStat,
    FileIndexManifest,
    FileIndexManifestRef,
    FileMetadata,
)
from agent_world_distfs.records.given import (
    ABSENT,
    LINKS,
    Absent,
    Data,
    Expected,
    HashAlgorithm,
    Link,
    Progress,
    Readable,
    Retry,
)
from agent_world_distfs.records.reports import (
    AdoptReport,
    BackupReport,
    CheckoutReport,
    ExpiryReport,
    FileIndexAuditReport,
    ForkReport,
    ManifestImportReport,
    PruneReport,
    RepairReport,
    SnapshotPruneReport,
    TreeImportReport,
    UndoReport,
    UpgradeReport,
    UsageReport,
)
from agent_world_distfs.records.states import (
    Change,
    FileDifference,
    LogRange,
    Snapshot,
    State,
    StoreSettings,
)

__all__ = [
    "ABSENT",
    "LINKS",
    "Absent",
    "AdoptReport",
    "BackupReport",
    "BlobStat",
    "Change",
    "CheckoutReport",
    "Data",
    "Expected",
    "ExpiryReport",
    "FileDifference",
    "FileIndexAuditReport",
    "FileIndexManifest",
    "FileIndexManifestRef",
    "FileMetadata",
    "ForkReport",
    "HashAlgorithm",
    "Link",
    "LogRange",
    "ManifestImportReport",
    "Progress",
    "PruneReport",
    "Readable",
    "RepairReport",
    "Retry",
    "Snapshot",
    "SnapshotPruneReport",
    "State",
    "StoreSettings",
    "TreeImportReport",
    "UndoReport",
    "UpgradeReport",
    "UsageReport",
]
