"""The products: their table, its category tree, and what is wrong in copies of it."""

import shutil
from pathlib import Path

import pytest
from dataset_maker import PRODUCTS, product_rows, write_products, write_rows

from datamodules.products import Products, category_levels
from lightning_vision.data.scenarios import FromColumn, Joint
from lightning_vision.errors import ConfigError, DataError

TABLE = "flipkart_com-ecommerce_sample_1050.csv"
UNIQ_ID, TREE, IMAGE = 0, 3, 4


def read(root: Path, **options: object) -> Products:
    defaults = {"num_workers": 0, "image_size": 16, "split": "60/20/20", "stream": Joint()}
    return Products(root, **{**defaults, **options})  # type: ignore[arg-type]


def refused(root: Path, rows: list[list[str]]) -> str:
    """The error with this table."""
    write_rows(root / "Flipkart" / TABLE, [list(row) for row in rows])
    with pytest.raises(DataError) as caught:
        read(root)
    return str(caught.value)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_products(tmp_path_factory.mktemp("shop"))


@pytest.fixture
def copy(shop: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shop, tmp_path / "copy"))


class TestTable:
    def test_top_categories(self, shop: Path) -> None:
        data = read(shop)
        assert data.class_names == list(PRODUCTS)
        assert len(data.samples) == 30 and set(data.samples["label"]) == {0, 1, 2}
        assert data.samples.groupby(["split", "label"]).size().to_dict() == {
            (split, label): count for split, count in (("train", 6), ("val", 2), ("test", 2)) for label in range(3)
        }
        assert data.samples["path"].iloc[0] == f"Flipkart/Images/{1:032d}.jpg"
        assert data.image(0).shape == (3, 40, 48)

    def test_pairs_of_levels(self, shop: Path) -> None:
        data = read(shop, level=2)
        assert data.class_names == [f"{top} >> {name}" for top, below in PRODUCTS.items() for name in below]
        assert data.samples["label"].value_counts().unique().tolist() == [5]
        assert data.describe()["init_args"]["level"] == 2

    def test_trees_that_are_not_deep_enough(self, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
        rows = product_rows()
        rows[1][TREE], rows[2][TREE] = '["Baby Care"]', '["Baby Care >> Baby Bedding"]'
        write_rows(copy / "Flipkart" / TABLE, [list(row) for row in rows])
        assert len(read(copy).samples) == 30
        assert len(read(copy, level=2).samples) == 29
        assert "skipped 1 file (1 with fewer than 2 category levels)" in capsys.readouterr().err
        with pytest.raises(DataError, match=r"data\.level: no product has 4 category levels; the deepest tree has 3"):
            read(copy, level=4)
        with pytest.raises(ConfigError, match=r"data\.level counts the levels of the category tree from 1, not 0"):
            read(copy, level=0)

    def test_some_categories(self, shop: Path) -> None:
        data = read(shop, categories=["Watches", "Baby Care"])
        assert data.class_names == ["Baby Care", "Watches"] and len(data.samples) == 20
        assert not data.findings.remarks
        with pytest.raises(
            ConfigError, match=r"no top category 'Watch'\. Its categories, similar names first: 'Watches', '"
        ):
            read(shop, categories=["Watch"])
        with pytest.raises(ConfigError, match="is an empty list"):
            read(shop, categories=[])

    def test_a_stream_may_follow_the_table(self, shop: Path) -> None:
        data = read(shop, stream=FromColumn("category"))
        assert [item.name for item in data.stream] == list(PRODUCTS)
        assert data.samples["crawl_timestamp"].nunique() == 5

    @pytest.mark.parametrize(
        ("text", "levels"),
        [
            ('["A >> B  >>C "]', ["A", "B", "C"]),
            ('["Baby Care >> Frames 5" x 7" >> Fr..."]', ["Baby Care", 'Frames 5" x 7"', "Fr..."]),
            ('[ "A" ]', ["A"]),
            ('["A >> é", "other"]', ["A", "é"]),
            ('["A >>  >> B"]', None),
            ("A >> B", None),
            ("[]", None),
            ("[1]", None),
            ('{"A": "B"}', None),
        ],
    )
    def test_category_levels(self, text: str, levels: list[str] | None) -> None:
        assert category_levels(text) == levels


class TestLayouts:
    def test_from_the_folder_flipkart(self, shop: Path) -> None:
        one, two = read(shop), read(shop / "Flipkart")
        assert two.samples["path"].iloc[0] == f"Images/{1:032d}.jpg"
        assert one.samples["split"].tolist() == two.samples["split"].tolist()

    def test_a_table_beside_the_folder(self, copy: Path) -> None:
        (copy / "Flipkart" / TABLE).rename(copy / "shop.csv")
        write_rows(copy / "other.csv", [["a", "b"]])
        assert len(read(copy).samples) == 30
        shutil.copy(copy / "shop.csv", copy / "shop 2.csv")
        with pytest.raises(
            DataError, match=r"Several tables have the columns 'uniq_id', 'product_category_tree': '.*shop 2\."
        ):
            read(copy)
        assert read(copy, table="shop.csv").describe()["init_args"]["table"] == "shop.csv"
        with pytest.raises(DataError, match=r"data\.table does not exist; searched 'none\.csv', '.*copy/none\.csv'"):
            read(copy, table="none.csv")

    def test_without_the_column_image(self, copy: Path) -> None:
        rows = [[row[UNIQ_ID], row[TREE]] for row in product_rows()]
        write_rows(copy / "Flipkart" / TABLE, [list(row) for row in rows])
        assert read(copy).samples["path"].iloc[0] == f"Flipkart/Images/{1:032d}.jpg"

    def test_missing(self, shop: Path, tmp_path: Path) -> None:
        with pytest.raises(
            DataError, match=r"was not found in .*empty\.\nExpected one of\n  <root>/Flipkart/flipkart_com-e"
        ):
            read(tmp_path)
        with pytest.raises(
            DataError, match=rf"which contains the files '0+1\.jpg'.*\. This is too deep; use {shop}/Flipkart\."
        ):
            read(shop / "Flipkart" / "Images")
        (tmp_path / "shop").symlink_to(shop)
        with pytest.raises(DataError, match=rf"This is one level too high; use {tmp_path}/shop\."):
            read(tmp_path)
        (tmp_path / "Images").mkdir()
        with pytest.raises(DataError, match="The table or images of Products was not found"):
            read(tmp_path)


class TestOdd:
    def test_rows_that_contradict(self, copy: Path) -> None:
        rows = product_rows()
        rows[2][UNIQ_ID] = rows[1][UNIQ_ID]
        rows[4][IMAGE] = rows[3][IMAGE]
        rows[5][TREE] = "Baby Care >> Infant Wear"
        rows[6][TREE] = ""
        rows[7][IMAGE] = "../secret.jpg"
        said = refused(copy, rows)  # a description goes over two lines, so a record begins in every second one
        for words in (
            f"line 4: uniq_id '{1:032d}' is already in line 2",
            f"line 8: image '{3:032d}.jpg' is already in line 6",
            "line 10: product_category_tree is 'Baby Care >> Infant Wear', expected [\"A >> B >> C\"]",
            "line 12: product_category_tree is '', expected a text",
            "line 14: image is '../secret.jpg', expected a file name without folders",
        ):
            assert f"{TABLE} {words}" in said

    def test_broken_quotation(self, copy: Path) -> None:
        """As in copies that were saved by hand: every line that does not parse is named, none is dropped in silence."""
        file = copy / "Flipkart" / TABLE
        lines = file.read_text(encoding="utf-8").replace("Two lines,\n", "One line, ").split("\n")
        lines[2] = lines[2].replace('"[""', '"["')
        lines[4] += ",more"
        file.write_text("\n".join(lines), encoding="utf-8")
        with pytest.raises(
            DataError, match=rf"2 problems:\n  {TABLE} line 3: broken quo.*\n  {TABLE} line 5: 7 fields, expected 6"
        ):
            read(copy)
        file.write_text("\n".join(lines).replace(",", ";"), encoding="utf-8")
        with pytest.raises(DataError, match=r"separated by semicolons, expected commas"):
            read(copy)

    def test_missing_and_unnamed_images(self, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (copy / "Flipkart" / "Images" / f"{1:032d}.jpg").rename(copy / "Flipkart" / "Images" / "more.jpg")
        with pytest.raises(DataError, match=rf"1 problem:\n  Flipkart/Images/{1:032d}\.jpg: file not found"):
            read(copy)
        assert len(read(copy, on_bad_image="skip").samples) == 29
        assert len(read(copy, categories=["Watches"]).samples) == 10, "what is not asked for need not be there"
        assert (
            f"1 image of Flipkart/Images/ not used, because {TABLE} has no line for 'more.jpg'."
            in capsys.readouterr().err
        )
