import pytest
import torch

from kit.recipe import launch

HINT = "(KIT_TRACEBACK=1 shows where it was raised)\n"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ValueError("a.jpg: damaged"), 1, "error: a.jpg: damaged\n" + HINT),
        (FileNotFoundError("no such folder"), 1, "error: no such folder\n" + HINT),
        (FloatingPointError("step 3"), 1, "error: step 3\n" + HINT),
        (
            KeyboardInterrupt(),
            130,
            "\nstopped. The last checkpoint, if any, is intact; the same command resumes from it.\n",
        ),
    ],
)
def test_launch_tells_what_stopped_it(capsys, monkeypatch, error, code, said):
    def main():
        raise error

    monkeypatch.delenv("KIT_TRACEBACK", raising=False)
    with pytest.raises(SystemExit) as stop:
        launch(main)
    assert stop.value.code == code
    assert capsys.readouterr() == ("", said)
    if code == 1:
        monkeypatch.setenv("KIT_TRACEBACK", "1")
        with pytest.raises(type(error)) as shown:
            launch(main)
        assert shown.value is error


def test_launch_leaves_bugs_and_success_alone():
    with pytest.raises(ZeroDivisionError):
        launch(lambda: 1 / 0)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        launch(lambda: torch.ones(2, 3) @ torch.ones(2, 3))
    assert launch(lambda: None) is None


def test_launch_does_nothing_in_a_data_worker_that_imports_the_script():
    """A script without `if __name__ == "__main__"` would else train again in each worker."""

    def main():
        pytest.fail("trained in a worker")

    main.__module__ = "__mp_main__"  # the name under which multiprocessing imports a script
    assert launch(main) is None
