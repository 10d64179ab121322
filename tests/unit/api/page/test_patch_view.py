"""Patches as files and lines."""

from relay_api.page import patch_view
from relay_api.page.patch_view import file_views

PATCH = b"""diff --git a/a.py b/a.py
index 1111111..2222222 100644
--- a/a.py
+++ b/a.py
@@ -3,3 +3,4 @@ def f():
 same
--- gone
+new
++++ more
 end
\\ No newline at end of file
diff --git a/old b/new
similarity index 100%
rename from old
rename to new
diff --git a/logo.png b/logo.png
new file mode 100644
index 0000000000000000000000000000000000000000..2222222222222222222222222222222222222222
GIT binary patch
literal 3
KcmZQzWMBXQ

literal 0
HcmV?d00001

"""


def test_lines_have_numbers_and_kinds():
    files, more = file_views(PATCH)
    assert more == 0
    text, renamed, binary = files
    assert (text.path, text.insertions, text.deletions, text.open) == ("a.py", 2, 1, True)
    assert [(line.kind, line.old, line.new) for line in text.lines] == [
        ("hunk", "", ""), ("same", "3", "3"), ("del", "4", ""), ("add", "", "4"), ("add", "", "5"), ("same", "5", "6"), ("hunk", "", ""),
    ]  # fmt: skip
    assert [line.text for line in renamed.lines] == ["rename from old", "rename to new"]
    assert (binary.path, binary.binary, binary.lines) == ("logo.png", True, [])


def test_a_huge_patch_is_cut_and_says_so(monkeypatch):
    monkeypatch.setattr(patch_view, "MOST_FILES", 2)
    monkeypatch.setattr(patch_view, "MOST_LINES", 3)
    part = b"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -0,0 +1,9 @@\n" + b"+" + b"y" * 5000 + b"\n" + b"+z\n" * 8
    files, more = file_views(part * 5)
    assert (len(files), more) == (2, 3)
    assert (files[0].cut, files[0].insertions, len(files[0].lines)) == (7, 9, 3)
    assert len(files[0].lines[1].text) == patch_view.LONGEST_LINE + 1
