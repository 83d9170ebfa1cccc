"""Ctrl-C inside of what is done around a fork: nothing stays held in the parent."""

from __future__ import annotations

from pathlib import Path

from children import Start

PROGRAM = """
    import threading
    sys.path.insert(0, sys.argv[2])
    from striking import RaiseAtLine
    sys.unraisablehook = lambda _: None
    stores = [LocalCasStore(location + str(number), lock_timeout_s=5) for number in range(2)]
    for store in stores:
        store.write_file("a", b"x")

    def work():
        for store in stores:
            store.write_file("b", store.read_file("a"))
            assert store.list_files()
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        done.append(True)

    number, step = 1, int(sys.argv[3])
    while True:
        with RaiseAtLine(number, KeyboardInterrupt) as striking:
            try:
                pid = os.fork()
            except KeyboardInterrupt:
                pid = -1
            if pid == 0:
                os._exit(0)
        if pid > 0:
            assert os.waitpid(pid, 0)[1] == 0
        done = []
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert done, number
        if not striking.has_raised:
            break
        number += step
    say(number)
"""


def test_an_interrupt_at_any_line_around_a_fork_keeps_no_thread_out(location: Path, start: Start) -> None:
    child = start(PROGRAM, location, Path(__file__).parent, 1)
    assert int(child.hear()) > 50
    child.finish()


def test_a_child_whose_first_lines_are_interrupted_keeps_no_lock_of_its_parent(
    location: Path, start: Start
) -> None:
    child = start(
        """
        sys.path.insert(0, sys.argv[2])
        from striking import RaiseAtLine
        sys.unraisablehook = lambda _: None
        store = LocalCasStore(location)
        store.put_bytes(b"x" * 100_000)

        def locks():
            places = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
            links = [os.readlink(place) for place in places if os.path.exists(place)]
            return sum(link.endswith((".lock", "/gate", "/turnstile")) for link in links)

        assert locks()
        number, has_raised = 1, True
        while has_raised:
            with RaiseAtLine(number, KeyboardInterrupt, "lock_descriptors.py") as striking:
                pid = os.fork()
            if pid == 0:
                os._exit(2 * locks() + striking.has_raised)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            assert status in (0, 1), (number, status)
            has_raised = bool(status)
            number += 1
        say(number)
        """,
        location,
        Path(__file__).parent,
    )
    assert int(child.hear()) > 8
    child.finish()
