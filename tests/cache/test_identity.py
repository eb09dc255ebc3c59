from roar_pipeline.cache.identity import fingerprint, flattened


def test_fingerprint_is_canonical() -> None:
    assert fingerprint({"a": 1, "b": [2, "ü"]}) == fingerprint({"b": [2, "ü"], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 1.5})
    assert fingerprint({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


def test_an_identity_is_flattened_under_dotted_names() -> None:
    whole = {
        "stage": "S",
        "version": 3,
        "parameters": {"seed": 1},
        "settings": {"retrain": {"lr": 0.1, "milestones": [1, 2]}, "partial": True},
        "inputs": ["f"],
    }
    assert flattened(whole) == {
        "seed": 1,
        "retrain.lr": 0.1,
        "retrain.milestones": [1, 2],
        "partial": True,
    }
    assert flattened({}) == {}
