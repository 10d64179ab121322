set -e
echo "Asked for: $(cat)"
sed -i 's|^    return f"\(.*\)"$|    return f"\1<p>Made by a job of Relay.</p>\\n"|' page.py
cat >> test_page.py <<'TEST'

    def test_it_says_who_made_it(self):
        self.assertIn("Made by a job of Relay.", render("Relay"))
TEST
python3 -m unittest -v
git -c user.name=Sample -c user.email=sample@localhost commit --all --quiet --message "Say who made the page"
git --no-pager show --stat --format='%h %s'
