"""Bad input, one line per case: the input, and words of the message that says what to do.

Command lines run in this process (``in_process``), up to where work would begin.
"""

import re
from pathlib import Path

import pytest
from support.in_process import ACCEPTED, Answer, luigi_module_tasks, python_m_tasks
from support.workplace import SMALL

from tasks.configuration.settings import BAD_INPUT

BIG = "9" * 5000
LUIGI_USAGE = 2
"""Exit code of Luigi's own command for an unknown option."""

SETTINGS = "".join(f"[{n}]\n" + "".join(f"{k} = {v}\n" for k, v in keys.items()) for n, keys in SMALL.items())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a link to itself, a file, a dangling link, and no results."""
    folder = tmp_path_factory.mktemp("bad input ü")
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "file").write_text("", encoding="utf-8")
    (folder / "nowhere").symlink_to(folder / "not mounted")
    return folder


def ask(folder: Path, words: str | tuple[str, ...], overlay: str = "") -> Answer:
    """Run a command line, with ``python -m tasks`` if it begins with one of its commands, else with ``luigi``."""
    arguments = words.split() if isinstance(words, str) else list(words)
    files = {"luigi.cfg": SETTINGS, "overlay.cfg": overlay}
    run = python_m_tasks if arguments and arguments[0] in COMMANDS else luigi_module_tasks
    return run(folder, *arguments, files=files)


COMMANDS = ("run", "scheduler", "status", "forecast", "logs", "invalidate", "restore", "gc", "verify", "mend")


def check(answer: Answer, code: int, message: str) -> None:
    assert answer.code == code, answer.output
    assert re.search(message, answer.output, re.DOTALL), answer.output
    assert "Traceback" not in answer.output
    assert max(map(len, answer.output.splitlines())) < 2000


RANDOM = "Retrain --method random --percent"
PERCENT = r"percent must be a whole number in 1\.\.99, 0 for the clean cell, or 100, got '"
MODEL = "Retrain --method gradcam --percent 30 --model"
UNKNOWN_MODEL = "unknown model '.*Known: teacher, plain.*such as sswa/8"
DUMP = "DumpMaps --model teacher --method"
NO_MODULE = "names no function of a module that Python finds"
BUILT_IN = "built into Python or compiled"

ARGUMENTS: list[tuple[str | tuple[str, ...], str]] = [
    *((f"{RANDOM}={text}", PERCENT) for text in ("101", "-1", "30.5", "thirty", "30,60", "²", "٣٠", "３０", "1_0")),
    *((f"{RANDOM}={text}", PERCENT) for text in (BIG, f"-{BIG}", "1e1", "0x1e", "+", "३", "½", "Ⅷ", "inf")),
    ((*RANDOM.split(), "3 0"), PERCENT),
    ((*RANDOM.split(), " "), PERCENT),
    *((f"{MODEL}={text}", UNKNOWN_MODEL) for text in ("swaa", "sswa/²", "sswa/٤", "sswa/0", "sswa/-4", "sswa/04")),
    *((f"{MODEL}={text}", UNKNOWN_MODEL) for text in ("sswa/", "sswa/4/4", f"sswa/{BIG}", "teacher/4", "SSWA", "/4")),
    ("DistillStudent --loss ewa --reduction -1", "reduction must be a whole number from 1, got '-1'"),
    ("DistillStudent --loss ewa --reduction 0", "reduction must be a whole number from 1, got '0'"),
    ("DistillStudent --loss ewa --reduction=-0", "reduction must be a whole number from 1, got '-0'"),
    ("DistillStudent --loss ewa --reduction 3", "reduction 3 does not divide"),
    ("DistillStudent --loss ewa --reduction 999999", "reduction 999999 does not divide"),
    (f"DistillStudent --loss ewa --reduction {BIG}", r"reduction must .* got '9+\.\.\. \(5,000 characters\)' \(longer"),
    ("DistillStudent --loss mse", "unknown loss 'mse'. Known: plain, naive_kd, ewa, swa, sswa"),
    ("DistillStudent", "requires the 'loss' parameter"),
    ("Retrain --percent 0 --model-seed x", "model_seed must be a whole number from 0, got 'x'"),
    ("Retrain --percent 0 --model-seed=-1", "model_seed must be a whole number from 0, got '-1'"),
    ("Retrain --percent 0 --model-seed=²", "model_seed must be a whole number from 0, got '²'"),
    ("FineTuneTeacher --seed one", "seed must be a whole number from 0, got 'one'"),
    ("FineTuneTeacher --seed ²", "seed must be a whole number from 0, got '²'"),
    ("FineTuneTeacher --seed 1.5", "seed must be a whole number from 0, got '1.5'"),
    (f"FineTuneTeacher --seed {BIG}", "seed must be a whole number from 0, .*longer than 18 digits"),
    ("FineTuneTeacher --seed 99999999999999999999", "longer than 18 digits"),
    (f"{DUMP} nonsense", "unknown attribution method 'nonsense'. Known: gradcam"),
    (f"{DUMP} gradcam+sharper", r"unknown variant '\+sharper' of 'gradcam'. Known: \+blur"),
    (f"{DUMP} gradcam+shuffled", "shuffled"),
    ("DumpMaps --method gradcam", "method gradcam needs a model"),
    *((f"{DUMP} {text}", NO_MODULE) for text in (":", "os:", ":system", "..x:y", "no_such:f", "os.path.no:x", "a:b:c")),
    *((f"{DUMP} {text}", NO_MODULE) for text in ("tests:1x", f"{'x' * 5000}:y", "ü:ü")),
    *(((*DUMP.split(), text), NO_MODULE) for text in ("a\0b:y", "a b:y", "json:a b", "json.decoder.x:y")),
    *((f"{DUMP} {text}", BUILT_IN) for text in ("os:system", "sys:exit", "math:sqrt", "builtins:eval", "zipimport:x")),
    ("Retrain --percent 30", "percent 30 removes pixels: give --method"),
    ("Retrain --method random", "requires the 'percent' parameter to be set"),
    (f"{RANDOM} 3 --direction add", "unknown direction 'add'"),
    ("Report --seeds ,", "seeds needs at least one"),
    ("Report --seeds ²", r"\[grid\] seeds = ²: not a whole number"),
    ("Report --seeds=-1", r"\[grid\] seeds = -1: -1 is below 0"),
    ("Report --model-seeds=-1", r"\[grid\] model_seeds = -1: -1 is below 0"),
    ("Report --model-seeds 1,1", r"\[grid\] model_seeds names something twice"),
    ("Report --models none", "models needs at least one"),
    ("Report --models sswa,sswa/2", "names one model twice"),
    ("Report --percents 0", r"\[grid\] percents = 0: 0 is below 1"),
    ("Report --percents 30,30", "percents names something twice"),
    ("Report --methods os:system", BUILT_IN),
    ("Report --methods gradcam+shuffled", "is a control of its method"),
    *((f"Report --workers={text}", r"\[core\] workers = .*not a whole number") for text in ("abc", "1.5", "²", "1e3")),
    *((f"Report --workers={text}", rf"\[core\] workers = {text}: {text} is below 1") for text in ("0", "-3")),
    (f"Report --workers={BIG}", r"\[core\] workers = 9+\.\.\. \(5,000 characters\): longer than 18 digits"),
    ("Report --scheduler-port 70000", r"\[core\] scheduler_port = 70000: 70000 is above 65535"),
    ("Report --scheduler-port 0", r"\[core\] scheduler_port = 0: 0 is below 1"),
    ("Report --scheduler-port abc", r"\[core\] scheduler_port = abc: not a whole number"),
    ("Report --worker-wait-interval soon", r"\[worker\] wait_interval = soon: not a number"),
    ("Report --retcode-not-run x", r"\[retcode\] not_run = x: not a whole number"),
    ("Report --log-level LOUD", r"\[core\] log_level = LOUD"),
    *(
        ((*words, text), f"{key} = .* is no path: .*Name a folder")
        for words, key in (
            (("Report", "--paths-data"), r"\[paths\] data"),
            (("Report", "--dataset-root"), r"\[dataset\] root"),
        )
        for text in ("~nosuchuser", "~nosuchuser/x", "a\0b", "loop", "loop/x", "x" * 300)
    ),
    ("Report --paths-data file", "is a file. Name a folder"),
    ("Report --paths-data nowhere", "is a link to .*which is not there. Is its disk mounted"),
    ("Report --paths-data no/such/folder", "there is no folder"),
    ("Report --dataset-root nowhere", r"does not exist. Set \[dataset\] root"),
    ("Report --dataset-root file", "is not in VOC layout"),
    ("Report --dataset-root my_images:items", "is no folder. If it names a function of your own, set kind = own"),
    ("Report --dataset-kind folder", "kind = folder needs root"),
    ("Report --dataset-kind folder --dataset-root .", "has no folder train, no folder test with a folder per class"),
    ("Report --dataset-kind cifar10 --dataset-root .", "has no file data_batch_1, .*cifar-10-python.tar.gz"),
    ("Report --dataset-kind own --dataset-root no_such:f --dataset-classes a,b", NO_MODULE),
]


def case_name(case: object) -> str:
    return ascii(case)[:60]


@pytest.mark.parametrize(("words", "message"), ARGUMENTS, ids=case_name)
def test_arguments(folder: Path, words: str | tuple[str, ...], message: str) -> None:
    check(ask(folder, words), BAD_INPUT, message)


TASKS = "Tasks: DistillStudent, DumpMaps, .*Retrain"
FAMILIES = [
    ("Retrian --percent 0", rf"There is no task 'Retrian'. Did you mean Retrain\? {TASKS}"),
    ("report", rf"There is no task 'report'. Did you mean Report\? {TASKS}"),
    ("distilstudent", r"There is no task 'distilstudent'. Did you mean DistillStudent\?"),
    ("Nonsense", f"There is no task 'Nonsense'. {TASKS}"),
    ("--workers=2 Raport", r"There is no task 'Raport'. Did you mean Report\?"),
    (BIG, r"There is no task '9+\.\.\. \(5,000 characters\)'"),
    ("RangeDaily --of Report", "There is no task 'RangeDaily'"),
    *((name, f"There is no task '{name}'") for name in ("core", "Task", "Config", "worker", "email", "grid", "²")),
    *((name, f"There is no task '{name}'") for name in ("StageTask", "ModelTask", "ExternalTask")),
    ("CellTask --percent 0", "There is no task 'CellTask'"),
]


@pytest.mark.parametrize(("words", "message"), FAMILIES, ids=case_name)
def test_unknown_tasks(folder: Path, words: str, message: str) -> None:
    check(ask(folder, words), BAD_INPUT, message)


COMMAND_LINES = [
    *((f"{name} --workers={text}", "argument --workers: give a whole number from 1 to 1,000,000, not '")
      for name in ("run", "forecast") for text in ("abc", "0", "-3", "²", "1.5", BIG, "9999999")),
    *((f"status --depth={text}", "argument --depth: give a whole number from 0") for text in ("x", "-2", "²", BIG)),
    *((f"scheduler --{port}={text}", f"argument --{port}: give a whole number from 1 to 65,535")
      for port in ("port", "page-port") for text in ("0", "-1", "65536", "70000", "abc", "²", BIG)),
    ("scheduler --port 8083", "The servers cannot share port 8083"),
    ("status --scheduler-port=70000", r"\[core\] scheduler_port = 70000: 70000 is above 65535"),
    ("status --nonsense", "unrecognized arguments: --nonsense"),
    ("status --seeds=²", r"\[grid\] seeds = ²: not a whole number"),
    ("mend", "there is no command 'mend'. Commands: run, forecast, status"),
    ("status Retrian", "unknown stage 'Retrian'. Known: GenerateScenes"),
    ("status retrain", "unknown stage 'retrain'. Known: GenerateScenes"),
    ("invalidate Retrian", "unknown stage 'Retrian'"),
    ("invalidate Retrain", "No result of Retrain meets these conditions"),
    ("invalidate Retrain --where percent", "give key=value"),
    ("invalidate Retrain --where percent=99", "No result of Retrain meets these conditions"),
    ("restore", "nothing set aside"),
    (("restore", "a\0b"), "nothing set aside"),
    *((("logs", text), "is neither a stage") for text in ("nonsense", "a\0b", "", "[", "*", "**", "x" * 300, "/no")),
    ("logs Retrain", "There is no log of Retrain yet"),
    ("gc --config nowhere.cfg", "there is no such file"),
    (("gc", "--config", "a\0b"), "there is no such file"),
    ("gc --config .", "there is no such file"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "message"), COMMAND_LINES, ids=case_name)
def test_commands(folder: Path, words: str | tuple[str, ...], message: str) -> None:
    check(ask(folder, words), BAD_INPUT, message)


WHOLE, NUMBER, FLAG = "not a whole number", "not a number", "not true or false"
FILES = [
    ("dataset", "mean", "5,5,5", "5.0 is above 1"),
    ("dataset", "mean", "-1,0,0", "-1.0 is below 0"),
    ("dataset", "mean", "nan,0,0", "not a finite number"),
    ("dataset", "mean", "0.5,0.5", "needs three numbers"),
    ("dataset", "std", "5,5,5", "5.0 is above 1"),
    ("dataset", "std", "0,.5,.5", "must be above 0"),
    ("dataset", "classes", "cat, dog, cat", "classes names something twice"),
    ("dataset", "classes", "; a comment", "a comment needs a line of its own"),
    ("dataset", "height", BIG, "longer than 18 digits"),
    ("dataset", "height", "7", "7 is below 8"),
    ("dataset", "train_side", "31", "is below the 32 x 32 pixels"),
    *((name, "milestones", "-3, 5", "-3 is below 1") for name in ("teacher", "student", "retrain")),
    *((name, "milestones", "9, 5", "must rise from one to the next") for name in ("teacher", "student", "retrain")),
    ("teacher", "milestones", "5, 5", "must rise from one to the next"),
    *(("teacher", "epochs", text, WHOLE) for text in ("²", "٣", "1_000", "1.5", "", "true", "1e3", "0x1", "- 1")),
    *(("teacher", "epochs", text, "longer than 18 digits") for text in (BIG, f"-{BIG}", "1" + "0" * 18)),
    ("teacher", "epochs", "-1", "-1 is below 0"),
    *(("teacher", "lr", text, NUMBER) for text in ("²", "1_0", "٣", "1,5", "fast", "", "0x1p3", "½")),
    *(("teacher", "lr", text, "not a finite number") for text in ("1e400", "nan", "inf", "-Infinity", BIG)),
    ("teacher", "lr", "-1", "-1.0 is below 0"),
    ("teacher", "dropout", "1", "1.0 is above 0.99"),
    ("teacher", "optimizer", "adam", "not one of adamw, sgd"),
    ("teacher", "schedule", "", "not one of one_cycle, steps, constant"),
    ("teacher", "weights", "imagenet", "needs arch"),
    ("teacher", "learning_rate", "0.1", "has no key 'learning_rate'. Known: arch, width"),
    ("student", "reduction", "0", "0 is below 1"),
    ("student", "reduction", "3", "reduction 3 does not divide"),
    ("retrain", "save_model", "maybe", FLAG),
    ("retrain", "augment", "resized_crop", "already removed"),
    ("retrain", "checkpoint", "best", "Use last"),
    ("retrian", "lr", "0.1", "unknown section .retrian.. Known: paths"),
    ("grid", "models", "sswa/²", "unknown model 'sswa/²'"),
    ("grid", "models", "foo", "unknown model 'foo'"),
    ("grid", "models", "none", "models needs at least one"),
    ("grid", "methods", "os:system", BUILT_IN),
    ("grid", "methods", "bar", "unknown attribution method 'bar'"),
    ("grid", "shuffled", "swaa", "unknown model 'swaa'"),
    ("grid", "percents", "", "percents needs at least one"),
    ("grid", "percents", "٣٠", WHOLE),
    ("grid", "percents", "100", "100 is above 99"),
    ("grid", "seeds", "x", WHOLE),
    ("grid", "seeds", "-1", "-1 is below 0"),
    ("grid", "model_seeds", "-1", "-1 is below 0"),
    ("grid", "model_seeds", "0,0", "names something twice"),
    ("grid", "directions", "add", "not one of remove, keep"),
    ("scenes", "seed", "9" * 30, "longer than 18 digits"),
    ("removal", "tie_seed", "9" * 30, "longer than 18 digits"),
    ("maps", "memory_mb", "-5", "-5 is below 1"),
    ("maps", "steps", "0", "0 is below 1"),
    ("distillation", "temperature", "0", "0.0 is below"),
    ("metrics", "f1_threshold", "50", "50.0 is above 1"),
    ("execution", "page_port", "70000", "70000 is above 65535"),
    ("execution", "threads", "0", "0 is below 1"),
    ("paths", "data", "%(x)s", "Write %% for a percent sign"),
    ("paths", "data", "50%", "Write %% for a percent sign"),
    ("paths", "data", "${NO_SUCH_VARIABLE}", "NO_SUCH_VARIABLE"),
    *(("paths", "data", text, "is no path") for text in ("~nosuchuser", "loop", "x" * 300)),
    *(("dataset", "root", text, "is no path") for text in ("~nosuchuser", "loop/x", "x" * 300)),
    ("core", "log_levle", "INFO", "has no key 'log_levle'. Known: local_scheduler"),
    ("core", "log_level", "LOUD", "LOUD"),
    ("core", "workers", "abc", WHOLE),
    ("core", "workers", "0", "0 is below 1"),
    ("core", "workers", "-3", "-3 is below 1"),
    ("core", "scheduler_port", "99999", "99999 is above 65535"),
    ("core", "default_scheduler_port", "abc", WHOLE),
    ("core", "default-scheduler-port", "abc", WHOLE),
    ("core", "no_lock", "perhaps", FLAG),
    ("core", "no_configure_logging", "maybe", FLAG),
    ("core", "autoload_range", "maybe", FLAG),
    ("core", "rpc_retry_wait", "abc", WHOLE),
    ("core", "rpc_connect_timeout", "abc", NUMBER),
    ("core", "logging_conf_file", "nowhere.ini", "there is no such file"),
    ("resources", "memory_mb", "-5", "-5 is below 1"),
    ("resources", "memory_mb", "0", "0 is below 1"),
    ("resources", "memory_mb", "abc", WHOLE),
    ("resources", "memory_mb", "1.5", WHOLE),
    ("resources", "memory_mb", BIG, "longer than 18 digits"),
    ("resources", "gpu", "-1", "-1 is below 0"),
    ("resources", "memroy_mb", "5", "has no key 'memroy_mb'. Known: gpu, memory_mb"),
    ("worker", "wait_interval", "abc", NUMBER),
    ("worker", "wait_interval", "-1", "-1.0 is below"),
    ("worker", "ping_interval", "0", "0.0 is below"),
    ("worker", "keep_alive", "maybe", FLAG),
    ("worker", "force_multiprocesing", "true", "has no key 'force_multiprocesing'"),
    ("scheduler", "retry_delay", "abc", "not a"),
    ("scheduler", "retry_count", "abc", WHOLE),
    ("retcode", "not_run", "abc", WHOLE),
    ("retcode", "unhandled_exception", "abc", WHOLE),
    ("retcode", "task_failed", "999", "999 is above 255"),
    ("retcode", "task_failed", "-1", "-1 is below 0"),
    ("email", "format", "abc", "abc"),
    ("email", "reciever", "abc", "has no key 'reciever'"),
    ("smtp", "port", "abc", WHOLE),
    ("execution_summary", "summary_length", "abc", WHOLE),
    ("batch_notifier", "email_interval", "1", "unknown section .batch_notifier"),
    ("Retrain", "persent", "3", "has no key 'persent'. Known: model, method, percent"),
    ("Retrain", "percent", "²", "percent must be a whole number"),
    ("Retrain", "model_seed", "-1", "model_seed must be a whole number from 0"),
    ("DistillStudent", "reduction", "0", "reduction must be a whole number from 1"),
    ("Report", "partial", "maybe", FLAG),
    ("Report", "seeds", "²", WHOLE),
]


@pytest.mark.parametrize("entry", ["Report", "status"])
@pytest.mark.parametrize(("section", "key", "text", "message"), FILES, ids=case_name)
def test_settings(folder: Path, entry: str, section: str, key: str, text: str, message: str) -> None:
    check(ask(folder, entry, f"[{section}]\n{key} = {text}\n"), BAD_INPUT, message)


def test_all_mistakes_of_the_configuration_at_once(folder: Path) -> None:
    overlay = {
        "teacher": "learning_rate = 0.1",
        "retrian": "lr = 0.1",
        "grid": "seeds = x\nmodels = foo\nmethods = bar\npercents =",
        "retrain": "augment = resized_crop",
        "Retrain": "persent = 3",
        "core": "workers = none",
    }
    output = ask(folder, "Report", "".join(f"[{name}]\n{text}\n" for name, text in overlay.items())).output
    for part in (
        "[teacher] has no key 'learning_rate'. Known: arch, width",
        "unknown section [retrian]. Known: ",
        "[grid] seeds = x: not a whole number",
        "[grid] unknown model 'foo'. Known: teacher",
        "[grid] unknown attribution method 'bar'. Known: gradcam",
        "[grid] percents needs at least one",
        "[retrain] augment = resized_crop would resize",
        "[Retrain] has no key 'persent'. Known: model, method, percent",
        "[core] workers = none: not a whole number",
    ):
        assert part in output


@pytest.mark.parametrize("words", ["Report Report", "Report --nonsense"])
def test_unknown_options(folder: Path, words: str) -> None:
    check(ask(folder, words), LUIGI_USAGE, "unrecognized arguments")


ACCEPTED_INPUT = [
    ("Report", ""),
    ("DistillStudent --loss ewa --reduction default", ""),
    ("Retrain --percent 0 --model-seed same", ""),
    ("FineTuneTeacher --seed 999999999999999999", ""),
    ("Report --shuffled none --model-seeds none", ""),
    ("Report --workers 3", "[core]\nlog_level = INFO\ndefault-scheduler-port = 9000\n"),
    ("Report", "[resources]\nmemory_mb = 4000\ngpu = 0\n[DEFAULT]\nx = 1\n[email]\nreceiver = x\n"),
    ("Report", "[dataset]\nmean = 0.4, 0.4, 0.4\nstd = 0.2, 0.2, 0.2\n[teacher]\nmilestones = 3, 5\n"),
]


@pytest.mark.parametrize(("words", "overlay"), ACCEPTED_INPUT)
def test_correct_input_is_accepted(folder: Path, words: str, overlay: str) -> None:
    answer = ask(folder, words, overlay)
    assert answer.code == ACCEPTED, answer.output


def test_bad_input_creates_no_files(folder: Path) -> None:
    ask(folder, "Report --workers 0")
    assert not (folder / "data").exists()
