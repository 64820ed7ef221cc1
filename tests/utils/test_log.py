import logging
import sys

import pytest

from mllm.utils.log import get_logger, progress_bar, setup_logging


@pytest.fixture(autouse=True)
def bare_logger():
    """The package's logger as a fresh process has it; restored afterwards."""
    logger = logging.getLogger('mllm')
    kept = logger.handlers[:], logger.level, logger.propagate
    logger.handlers[:], logger.propagate = [], True
    yield logger
    logger.handlers[:], logger.level, logger.propagate = kept


def test_all_loggers_are_below_the_package():
    assert get_logger('mllm.utils.image_io').name == 'mllm.utils.image_io'
    assert get_logger('my_plugin').name == 'mllm.my_plugin'
    assert get_logger('mllmx').name == 'mllm.mllmx'


def test_importing_and_asking_sets_nothing_up(bare_logger: logging.Logger):
    get_logger('mllm.a')
    assert bare_logger.handlers == []


@pytest.mark.parametrize(('rank', 'heard'), [(0, ['progress', 'trouble']), (1, ['trouble'])])
def test_ranks_after_the_first_say_only_what_is_wrong(capsys: pytest.CaptureFixture, rank: int, heard: list[str]):
    setup_logging(rank)
    logger = get_logger('mllm.engine')
    logger.debug('detail')
    logger.info('progress')
    logger.warning('trouble')
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert [line.split()[-1] for line in lines] == heard
    assert all(f'[rank {rank}]' in line for line in lines)
    assert captured.out == ''


def test_setting_up_twice_does_not_double_the_lines(capsys: pytest.CaptureFixture):
    setup_logging(0)
    setup_logging(0)
    get_logger('mllm').info('once')
    assert capsys.readouterr().err.count('once') == 1


def test_the_root_logger_stays_the_users(caplog: pytest.LogCaptureFixture):
    before = logging.getLogger().handlers[:]
    setup_logging(0)
    get_logger('mllm').warning('trouble')
    assert logging.getLogger().handlers == before
    assert 'trouble' not in caplog.text


def test_progress_is_shown_on_a_terminal_only(capfd: pytest.CaptureFixture):
    with progress_bar() as progress:
        progress.advance(progress.add_task('images', total=2))
    assert progress.disable
    assert capfd.readouterr() == ('', '')


def test_progress_goes_to_standard_error(capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys.stderr, 'isatty', lambda: True)
    with progress_bar() as progress:
        progress.advance(progress.add_task('images', total=2))
        progress.refresh()
    out, err = capfd.readouterr()
    assert out == ''
    assert 'images' in err
    assert '1/2' in err
    assert progress_bar(show=False).disable
