"""Image folders: what is found, in which order, how files are read, and what is refused."""

from __future__ import annotations

import builtins
import os
import sys
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.data.decode import read_picture
from chainrule.data.folders import Names, image_folder

QUIET = dict(verbose=0)


def picture(label: int, size: tuple[int, int] = (8, 8), channels: int = 3) -> np.ndarray:
    """Noise below 128, and above it in the half that says the class."""
    rng = np.random.Generator(np.random.Philox(key=label))
    made = rng.integers(0, 128, (*size, channels), np.uint8)
    half = size[1] // 2
    made[:, half * (label % 2) : half * (label % 2) + half] += 128
    return made


def write_ppm(path: Path, x: np.ndarray) -> None:
    kind = 6 if x.shape[-1] == 3 else 5
    path.write_bytes(f"P{kind}\n{x.shape[1]} {x.shape[0]}\n255\n".encode() + x.tobytes())


def plant(top: Path, count: int, classes: tuple[str, ...] = ("ant", "bee")) -> Path:
    """`count` pictures of each class; picture i of class c is `picture(2 * i + c)`."""
    for c, name in enumerate(classes):
        (top / name).mkdir(parents=True)
        for i in range(count):
            write_ppm(top / name / f"{i:03d}.ppm", picture(2 * i + c))
    return top


def whole(batches) -> tuple[np.ndarray, np.ndarray]:
    xs, ys = zip(*batches, strict=True)
    return np.concatenate(xs), np.concatenate(ys)


def model_for(units: int = 2) -> cr.Sequential:
    model = cr.Sequential([nn.Flatten(), nn.Dense(units)], seed=0)
    model.compile(cr.optim.SGD(0.1), "sparse_categorical_crossentropy", ["accuracy"])
    return model


def test_folder_gives_each_picture_with_its_class_once(tmp_path: Path) -> None:
    folder = image_folder(plant(tmp_path, 5), batch_size=4, shuffle=False)
    assert folder.classes == ("ant", "bee") and len(folder) == 3 and folder.image_shape == (8, 8, 3)
    assert [Path(each).name for each in folder.paths[4:6]] == ["004.ppm", "000.ppm"]
    x, y = whole(folder)
    assert x.dtype == np.uint8 and y.dtype == np.int64 and y.tolist() == [0] * 5 + [1] * 5
    for i in range(5):
        np.testing.assert_array_equal(x[i], picture(2 * i))
        np.testing.assert_array_equal(x[5 + i], picture(2 * i + 1))


def test_folder_order_is_of_the_seed_and_the_epoch(tmp_path: Path) -> None:
    def order(folder, number, start=0):
        return [x.tobytes() for x, _ in folder.epoch(number, start)]

    top = plant(tmp_path, 6)
    folder, again = (image_folder(top, batch_size=3) for _ in range(2))
    assert order(folder, 0) == order(again, 0) != order(folder, 1)
    assert order(folder, 1) != order(image_folder(top, batch_size=3, seed=1), 1)
    assert order(folder, 1, 2) == order(folder, 1)[2:]
    assert order(folder, None) == order(image_folder(top, batch_size=3, shuffle=False), 7)
    x, _ = whole(folder)
    assert sorted(x.sum((1, 2, 3))) == sorted(whole(folder.epoch(5))[0].sum((1, 2, 3)))
    loops = [[x.tobytes() for x, _ in folder] for _ in range(2)]  # a loop above was epoch 0
    assert loops == [order(folder, 1), order(folder, 2)]


def test_folder_split_is_whole_and_apart(tmp_path: Path) -> None:
    top = plant(tmp_path, 10)
    split = dict(validation_split=0.2, seed=3)
    train, held_out = image_folder(top, subset="both", **split)
    assert (len(train.paths), len(held_out.paths)) == (16, 4)
    assert sorted([*train.paths, *held_out.paths]) == list(image_folder(top).paths)
    assert list(image_folder(top, subset="validation", **split).paths) == list(held_out.paths)
    assert list(image_folder(top, subset="training", **split).paths) == list(train.paths)
    other = image_folder(top, subset="validation", validation_split=0.2, seed=4)
    assert list(other.paths) != list(held_out.paths)


def test_folder_trains_and_is_judged_as_arrays_are(tmp_path: Path) -> None:
    folder = image_folder(plant(tmp_path, 40), batch_size=16, scale=1 / 255)
    model = model_for()
    history = model.fit(folder, epochs=4, validation_data=folder, **QUIET)
    assert history.steps == 20 and history.history["val_accuracy"][-1] > 0.9
    x, y = whole(folder.epoch(None))
    assert x.dtype == np.float32 and x.max() == 1
    assert y.tolist() == folder.labels.tolist()
    judged, twin = model.evaluate(folder), model.evaluate(x, y, batch_size=16)
    assert judged == twin
    np.testing.assert_array_equal(model.predict(folder), model.predict(x, batch_size=16))


def test_folder_takes_no_targets_beside_its_own(tmp_path: Path) -> None:
    folder = image_folder(plant(tmp_path, 3))
    with pytest.raises(cr.ArgumentError, match="y came beside ImageFolder"):
        model_for().fit(folder, folder.labels, **QUIET)
    with pytest.raises(cr.ArgumentError, match="validation_split") as caught:
        model_for().fit(folder, validation_split=0.1, **QUIET)
    assert 'subset="both"' in caught.value.mend


def test_folder_of_both_kinds_of_size_is_resized(tmp_path: Path) -> None:
    top = plant(tmp_path, 2)
    write_ppm(top / "bee" / "wide.ppm", np.full((4, 20, 3), 77, np.uint8))
    with pytest.raises(cr.ShapeError, match=r"wide.ppm is 4 x 20.*000.ppm, is 8 x 8") as caught:
        whole(image_folder(top))
    assert "size=(8, 8)" in caught.value.mend
    pytest.importorskip("PIL")
    x, _ = whole(image_folder(top, size=(6, 4), shuffle=False))
    assert x.shape == (5, 6, 4, 3) and (x[-1] == 77).all()
    assert image_folder(top, size=(6, 4)).image_shape == (6, 4, 3)


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "webp", "gif", "npy", "ppm"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_lossless_kinds_read_alike(tmp_path: Path, ending: str, channels: int) -> None:
    Image = pytest.importorskip("PIL.Image")
    x = picture(1, (5, 4), 3)
    if ending == "gif":  # 256 colours at most
        x = np.repeat(x[..., :1], 3, axis=-1)
    path = tmp_path / f"a.{ending}"
    if ending == "npy":
        np.save(path, x)
    else:
        Image.fromarray(x).save(path, **({"lossless": True} if ending == "webp" else {}))
    wanted = Image.fromarray(x).convert({1: "L", 3: "RGB", 4: "RGBA"}[channels])
    found = read_picture(str(path), channels)
    assert found.dtype == np.uint8 and found.shape == (5, 4, channels)
    np.testing.assert_array_equal(found, np.asarray(wanted).reshape(5, 4, channels))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_grey_and_transparent_pictures_are_converted(tmp_path: Path, channels: int) -> None:
    Image = pytest.importorskip("PIL.Image")
    grey, clear = picture(0, (5, 4), 1), picture(0, (5, 4), 4)
    write_ppm(tmp_path / "grey.pgm", grey)
    Image.fromarray(clear).save(tmp_path / "clear.png")
    np.save(tmp_path / "clear.npy", clear)
    deep = grey[..., 0].astype(np.uint16) * 256 + 13
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray(grey[..., 0]).convert("RGB").save(tmp_path / "a.jpg", quality=100)
    made = {each.name: read_picture(str(each), channels) for each in tmp_path.iterdir()}
    np.testing.assert_array_equal(made["grey.pgm"], made["deep.png"])
    np.testing.assert_array_equal(made["clear.npy"], made["clear.png"])
    assert np.abs(made["a.jpg"].astype(int) - made["grey.pgm"]).mean() < 8
    if channels == 4:
        np.testing.assert_array_equal(made["clear.png"], clear)
        assert (made["grey.pgm"][..., 3] == 255).all()


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.png", b"no png at all", "cannot identify"),
        ("a.ppm", b"", "the file is empty"),
        ("a.ppm", b"P6 3 3 255 short", r"27 bytes of pixels are needed for \(3, 3, 3\), got 5"),
        ("a.ppm", b"P6 99999 99999 255 x", "29999400003 bytes"),
        ("a.npy", b"\x93NUMPY", "cannot be read"),
        ("a.jpg", b"\xff\xd8\xff\xe0" + bytes(20), "cannot be read"),
    ],
)
def test_file_that_is_no_picture_is_named(tmp_path: Path, name, content, told) -> None:
    pytest.importorskip("PIL")
    top = plant(tmp_path, 3)
    (top / "bee" / name).write_bytes(content)
    bad = os.path.join("bee", name)
    with pytest.raises(cr.FileError, match=told) as caught:
        model_for().fit(image_folder(top), **QUIET)
    assert bad in str(caught.value) and "skip=True" in caught.value.mend
    assert "test_folders.py" in str(caught.value)  # though it was a thread that met the file
    folder = image_folder(top, batch_size=1, skip=True, shuffle=False)
    assert len(whole(folder)[1]) == 6 and folder.skipped == [bad]
    assert [y.item() for _, y in folder.epoch(None, 4)] == [1, 1]


@pytest.mark.parametrize(
    ("dtype", "shape", "told"),
    [
        (np.float32, (4, 4), "uint8 is needed, got float32"),
        (np.uint8, (4,), "shape"),
        (np.uint8, (4, 4, 2), "shape"),
        (object, (2, 2), "Python objects"),
    ],
)
def test_array_file_must_hold_one_picture(tmp_path: Path, dtype, shape, told) -> None:
    (tmp_path / "a").mkdir()
    np.save(tmp_path / "a" / "x.npy", np.zeros(shape, dtype))
    with pytest.raises(cr.FileError, match=told):
        image_folder(tmp_path)


def test_folder_must_be_one_of_classes(tmp_path: Path) -> None:
    with pytest.raises(cr.FileError, match="is missing"):
        image_folder(tmp_path / "none")
    with pytest.raises(cr.DataError, match="has no sub-folder"):
        image_folder(tmp_path)
    (tmp_path / "ant").mkdir()
    with pytest.raises(cr.DataError, match=r"class 'ant' of .* holds no pictures"):
        image_folder(tmp_path)
    with pytest.raises(cr.DataError, match="hold no pictures"):
        image_folder(tmp_path, skip=True)
    write_ppm(tmp_path / "ant" / "a.ppm", picture(0))
    (tmp_path / "ant" / ".hidden").write_text("left alone")
    (tmp_path / "README.txt").write_text("left alone")
    assert list(image_folder(tmp_path).paths) == [os.path.join("ant", "a.ppm")]
    with pytest.raises(cr.FileError, match="is no folder"):
        image_folder(tmp_path / "README.txt")
    (tmp_path / "ant" / "notes.txt").write_text("no picture")
    with pytest.raises(cr.FileError, match=r"notes.txt below .* is no picture by its name"):
        image_folder(tmp_path)
    write_ppm(tmp_path / "loose.ppm", picture(0))
    with pytest.raises(cr.DataError, match="1 pictures that are in no class's folder"):
        image_folder(tmp_path)
    folder = image_folder(tmp_path, skip=True)
    assert folder.skipped == ["loose.ppm", os.path.join("ant", "notes.txt")]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (dict(size=8), r"size must be \(height, width\)"),
        (dict(size=(0, 8)), "height must be an integer"),
        (dict(size=(8, 8.5)), "width must be an integer"),
        (dict(batch_size=0), "batch_size"),
        (dict(channels=2), "channels must be 1, 3 or 4"),
        (dict(validation_split=0.2), "go together"),
        (dict(subset="both"), "go together"),
        (dict(validation_split=0.2, subset="test"), "unknown subset 'test'"),
        (dict(validation_split=1.2, subset="both"), "between 0 and 1"),
        (dict(scale=0), "scale must be"),
        (dict(scale=float("nan")), "scale must be"),
        (dict(seed=-1), "seed"),
    ],
)
def test_wrong_options_of_a_folder_are_refused(tmp_path: Path, options, told) -> None:
    with pytest.raises(cr.ArgumentError, match=told):
        image_folder(plant(tmp_path, 3), **options)


def test_without_pillow_plain_files_are_read_and_others_say_what_is_missing(
    tmp_path: Path, monkeypatch
) -> None:
    there = builtins.__import__

    def without(name, *rest):
        if name.split(".")[0] == "PIL":
            raise ImportError(name)
        return there(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    top = plant(tmp_path, 2)
    assert whole(image_folder(top))[0].shape == (4, 8, 8, 3)
    with pytest.raises(cr.ArgumentError, match="resizing 8 x 8 to 4 x 4 needs Pillow") as caught:
        whole(image_folder(top, size=(4, 4)))
    assert "chainrule[images]" in caught.value.mend
    (top / "bee" / "a.png").write_bytes(b"\x89PNG")
    with pytest.raises(cr.ArgumentError, match=r"a.png: reading this kind .* needs Pillow"):
        whole(image_folder(top, skip=True))


def test_names_come_back_whatever_their_letters() -> None:
    given = ["", "a/b.png", "猫/1.png", os.fsdecode(b"\xff.png"), "z"]
    names = Names(given)
    assert list(names) == given and names[-1] == "z" and list(names[1:3]) == given[1:3]
    assert list(names.only(np.array([4, 2]))) == ["z", "猫/1.png"]
    with pytest.raises(IndexError):
        names[5]


class Resident(cr.Callback):
    """The process's resident bytes after each step."""

    def __init__(self) -> None:
        self.bytes: list[int] = []

    def on_train_batch_end(self, batch, logs=None):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.bytes.append(pages * os.sysconf("SC_PAGESIZE"))

    def growth(self) -> int:
        """From the first tenth of the steps to the end, by their largest."""
        tenth = len(self.bytes) // 10
        return max(self.bytes[tenth:]) - max(self.bytes[:tenth])


def plant_many(top: Path, count: int, distinct: int = 1000) -> Path:
    """`count` files that are `distinct` pictures under many names, so as to take little disk."""
    kept = top / "kept"
    kept.mkdir(parents=True)
    for i in range(distinct):
        write_ppm(kept / f"{i}.ppm", picture(i))
    for c in range(10):
        (top / "images" / f"class {c}").mkdir(parents=True)
    for i in range(count):
        os.link(kept / f"{i % distinct}.ppm", top / "images" / f"class {i % 10}" / f"{i:06d}.ppm")
    return top / "images"


def batches_made(count: int, size: int):
    for start in range(0, count, size):
        labels = np.arange(start, start + size)
        yield np.stack([picture(int(i)) for i in labels % 1000]) / 255, labels % 10


def test_small_folder_of_300_is_read_ahead_and_trained(tmp_path: Path) -> None:
    folder = image_folder(plant_many(tmp_path, 300, 50), batch_size=30, scale=1 / 255)
    model, resident = model_for(10), Resident()
    history = model.fit(folder, epochs=2, callbacks=[resident], **QUIET)
    assert history.steps == 20 and len(folder.classes) == 10
    if sys.platform == "linux":
        assert resident.growth() < 8e6


@pytest.mark.heavy
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kind", ["folder", "generator"])
def test_a_hundred_thousand_pictures_train_in_flat_memory(tmp_path: Path, kind: str) -> None:
    # As arrays they would be 77 MB in float32; what is let grow is 8 MB.
    count, size = 100_000, 100
    if kind == "folder":
        data = image_folder(plant_many(tmp_path, count), batch_size=size, scale=1 / 255)
        assert len(data.paths) == count
    else:
        data = batches_made(count, size)
    resident = Resident()
    history = model_for(10).fit(data, callbacks=[resident], **QUIET)
    assert history.steps == count // size
    assert resident.growth() < 8e6, resident.bytes[:: len(resident.bytes) // 10]
