# The program of Relay's git container: everything that git does in a clone, which an agent may have filled with traps.
# Run as: sh -c "$this" git-container VERB, with the workspace at /workspace and the mirror at $MIRROR. Results go to
# stdout as "key value" lines. The container has no network, no secrets, and the user of the workspace. Hooks, fsmonitor,
# filters and the configuration of the clone are never used: every git command after the checkout has a private GIT_DIR
# and a fixed environment.
set -u
umask 022

say() { printf '%s %s\n' "$1" "$2"; }

# problem TEXT: end the run; the worker records the text.
problem() {
    say problem "$1"
    exit 0
}

# reason CODE: the last line of git's errors, or the meaning of the exit code of a git that was killed.
reason() {
    case "$1" in
    137) echo "git ran out of memory" ;;
    153) echo "a file grew over the size limit" ;;
    *) tail -n 1 /tmp/errors | cut -c 1-300 ;;
    esac
}

# ---- checkout: NAME MIRROR COMMIT BRANCH DEFAULT_BRANCH CONFIG PARTIAL MAX_BYTES MAX_FILES STORE -----------------------
# With a STORE the commit may be there only; its objects are then copied into the clone.

# The number of files and bytes that a checkout of the commit would write. It is computed before the first byte is
# written, because a few KB of tree objects can describe petabytes.
measure() {
    { git --git-dir="${STORE:-$MIRROR}" ls-tree -r -t -l "$COMMIT" 2>/tmp/errors || echo failed; } |
        awk -v max_bytes="$MAX_BYTES" -v max_files="$MAX_FILES" '
            $1 == "failed" { bad = "failed"; exit }
            $2 == "commit" { line = $0; sub(/^[^\t]*\t/, "", line); if (modules++ < 20) print "submodule " line }
            { files++; bytes += $4 }
            files > max_files { bad = "files"; exit }
            bytes > max_bytes { bad = "bytes"; exit }
            END { print "measured " (bad ? bad : "fits") }'
}

packed_refs() {
    echo '# pack-refs with: sorted '
    git --git-dir="$MIRROR" for-each-ref --format='%(objectname) refs/remotes/origin/%(refname:lstrip=2)' refs/heads |
        sed '/ refs\/remotes\/origin\/HEAD$/d'
    git --git-dir="$MIRROR" for-each-ref --format='%(objectname) %(refname)' refs/tags
}

# The files that are pointers of Git LFS, because its filter is not run: at most 20, in git's quoting.
pointers() (
    cd -P "./$PARTIAL" || return
    export GIT_DIR=.git GIT_WORK_TREE=.
    git ls-files -z -- .gitattributes '*/.gitattributes' | xargs -0 -r grep -lsF filter=lfs -- | grep -q . || return
    git ls-files -z | git check-attr --stdin -z filter | tr '\n\0' '\0\n' | awk 'NR % 3 == 1 { path = $0 }
        NR % 3 == 0 && $0 == "lfs" && looked++ < 200 { print path }' | tr '\n\0' '\0\n' >/tmp/lfs
    xargs -0 -r -n 1 sh -c '
        head -c 64 -- "$1" 2>/dev/null | grep -aq "^version https://git-lfs.github.com/spec/" || exit 0
        printf "lfs %s\n" "$(git --literal-pathspecs ls-files -- "$1")"' sh </tmp/lfs | head -n 20
)

# take_start CLONE: copy the objects of the commit that only the store has into the clone.
take_start() {
    ! git --git-dir="$1" cat-file -e "$COMMIT^{commit}" 2>/dev/null || return 0
    {
        printf '%s\n' "$COMMIT"
        git --git-dir="$MIRROR" for-each-ref --count=500 --format='^%(objectname)' refs/heads
    } >/tmp/revisions
    git --git-dir="$STORE" pack-objects --revs --stdout --local --delta-base-offset -q </tmp/revisions 2>/tmp/errors |
        git --git-dir="$1" index-pack --stdin --strict --threads=1 --max-input-size="$MAX_BYTES" >/dev/null 2>>/tmp/errors
}

checkout() {
    cd -P /workspace/repos || problem "the workspace has no directory for clones"
    rm -rf -- "./$NAME.partial-"*
    if [ -e "$NAME" ] || [ -L "$NAME" ]; then
        say exists "$NAME"
        return
    fi
    measure >/tmp/measured
    case "$(tail -n 1 /tmp/measured)" in
    'measured fits') grep '^submodule ' /tmp/measured ;;
    'measured files') say limit files && return ;;
    'measured bytes') say limit bytes && return ;;
    *) problem "the commit cannot be read: $(reason 0)" ;;
    esac
    own="$PARTIAL/.git"
    mkdir -p "$own/info" "$own/objects/info" "$own/objects/pack" "$own/refs/remotes/origin" "$own/refs/heads/$BRANCH" &&
        rmdir "$own/refs/heads/$BRANCH" &&
        printf '%s\n' "$MIRROR/objects" >"$own/objects/info/alternates" &&
        printf '%s\n' "$CONFIG" >"$own/config" &&
        packed_refs >"$own/packed-refs" &&
        printf '%s\n' "$COMMIT" >"$own/refs/heads/$BRANCH" &&
        printf 'ref: refs/heads/%s\n' "$BRANCH" >"$own/HEAD" || problem "the clone cannot be written"
    # The boundary of a mirror of shallow history: without it git in the clone would look for the commits beyond.
    if [ -s "$MIRROR/shallow" ]; then
        cat "$MIRROR/shallow" >"$own/shallow" || problem "the clone cannot be written"
    fi
    if [ -n "${STORE:-}" ] && ! take_start "$own"; then
        text=$(reason 0)
        rm -rf -- "./$PARTIAL"
        problem "the recorded state cannot be copied: $text"
    fi
    if [ -n "$DEFAULT_BRANCH" ]; then
        printf 'ref: refs/remotes/origin/%s\n' "$DEFAULT_BRANCH" >"$own/refs/remotes/origin/HEAD"
    fi
    git --git-dir="$own" --work-tree="$PARTIAL" read-tree --reset -u --no-recurse-submodules HEAD 2>/tmp/errors
    code=$?
    if [ "$code" -eq 0 ]; then
        pointers
        mv -T -- "$PARTIAL" "$NAME" && say head "$COMMIT" && return
    fi
    text=$(reason "$code")
    rm -rf -- "./$PARTIAL"
    problem "the files cannot be checked out: $text"
}

# ---- after_state: NAME MIRROR HEAD_COMMIT BRANCH COMMIT BASE KNOWN MAX_PACK MAX_INPUT EXCLUDES COPIED ------------------
# Reads /out/message, the message of the commit. Writes /out/status (git status, NUL-separated, cut at 8 MiB),
# /out/unchanged (paths in it that did not change), /out/omitted (path, reason, path, reason, …), /out/excluded (path,
# pattern, path, pattern, …) and /out/pack.

git_dir="/workspace/repos/${NAME:-}/.git"
private=/tmp/git

# Create a private repository over the clone's objects: its HEAD is a commit, its index a copy of the clone's index, and
# its configuration Relay's.
make_private() {
    mkdir -p "$private/objects/info" "$private/objects/pack" "$private/refs" "$private/info"
    printf '%s\n' "${HEAD_COMMIT:-ref: refs/heads/none}" >"$private/HEAD"
    printf '[core]\n\trepositoryformatversion = 0\n' >"$private/config"
    printf '%s\n' "$git_dir/objects" "$MIRROR/objects" >"$private/objects/info/alternates"
    if [ -f "$git_dir/info/exclude" ] && [ ! -L "$git_dir/info/exclude" ]; then
        head -c 65536 "$git_dir/info/exclude" >"$private/info/exclude"
    fi
    # With its times (-p): git reads a file again if it was changed in the second in which the index was changed.
    if [ -f "$git_dir/index" ] && [ ! -L "$git_dir/index" ] &&
        [ "$(stat -c %s "$git_dir/index")" -le 134217728 ]; then
        cp -p "$git_dir/index" "$private/index"
    fi
    export GIT_DIR="$private" GIT_WORK_TREE="/workspace/repos/$NAME" GIT_INDEX_FILE="$private/index"
}

# omit REASON: record the NUL-separated paths on stdin, at most 200, as changes that are not recorded.
omit() {
    sed -z 200q | why=$1 xargs -0 -r sh -c 'for path; do printf "%s\0%s\0" "$path" "$why"; done' sh >>/tmp/omitted
}

# Nested repositories are never entered: `git status` in them would run commands of their configuration.
status() {
    git status --porcelain=v1 -z --no-renames --ignore-submodules=all --untracked-files=all --ignored=matching \
        >/tmp/status+ignored 2>/tmp/errors || return
    sed -z '/^!! /d' /tmp/status+ignored | without_copied >/tmp/status
}

# Drop from a status the new files that Relay itself copied into the clone: they are in no commit and no diff of Relay's.
without_copied() {
    if [ -z "${COPIED:-}" ]; then
        cat
        return
    fi
    printf '%s\n' "$COPIED" | sed 's/^/?? /' >/tmp/copied
    grep -zvxFf /tmp/copied || :
}

# Take the copied files out of the index, unless HEAD has them: a step may have added all files to the index.
unstage_copied() {
    [ -n "${COPIED:-}" ] && [ -e "$private/index" ] || return 0
    printf '%s\n' "$COPIED" | while IFS= read -r path; do
        [ -n "$HEAD_COMMIT" ] && git cat-file -e "$HEAD_COMMIT:$path" 2>/dev/null || printf '%s\n' "$path"
    done >/tmp/unstaged
    git update-index --force-remove --stdin </tmp/unstaged 2>/dev/null || :
}

# Write the ignored paths that no .gitignore of the repository names, but the exclude list, with the pattern that does:
# at most 100, and their number.
excluded_paths() {
    sed -zn 's/^!! //p' /tmp/status+ignored | sed -z 10000q |
        git check-ignore -v -z --stdin 2>/dev/null | tr '\n\0' '\0\n' |
        awk 'NR % 4 == 1 { source = $0 } NR % 4 == 3 { pattern = $0 }
            NR % 4 == 0 && source == "/tmp/excludes" && count++ < 100 { print; print pattern }
            END { print count + 0 >"/tmp/excluded_count" }' | tr '\n\0' '\0\n' | head -c 1048576 >/out/excluded
    count=$(cat /tmp/excluded_count)
    [ "$count" = 0 ] || say excluded "$count"
}

read_status() {
    unstage_copied
    if [ ! -e "$private/index" ] || ! status; then
        rm -f "$private/index" "$private/index.lock"
        [ -z "$HEAD_COMMIT" ] || git read-tree "$HEAD_COMMIT" 2>/tmp/errors || problem "HEAD cannot be read: $(reason $?)"
        status || problem "the work tree cannot be read: $(reason $?)"
        say index rebuilt
    fi
    head -c 8388608 /tmp/status >/out/status
    sed -n "s/^warning: could not open directory '\(.*\)': .*/\1/p" /tmp/errors | tr '\n' '\0' >/tmp/closed
    [ ! -s /tmp/closed ] || say unseen yes
    omit "the workspace's user cannot read this directory" </tmp/closed
    sed -zn 's/^?? \(.*\/\)$/\1/p' /tmp/status | omit "a git repository of its own: its files are in no commit and no diff of this one"
}

# Write the paths whose files differ from the index, without nested repositories and unreadable files. Paths that can be
# committed go to /tmp/paths. Paths of Git LFS and git-crypt go to /tmp/held: their filters are never run, so their
# content must not be committed as it is. Any other filter is treated as git treats one that is not configured.
changed_paths() {
    : >/tmp/unreadable
    : >/tmp/unchanged
    : >/tmp/filtered
    sed -zn -e '/\/$/b' -e 's/^.[^ ] //p' /tmp/status |
        xargs -0 -r sh -c 'for path; do
            if [ -L "$path" ] || [ ! -e "$path" ] || [ -r "$path" ]; then printf "%s\0" "$path"
            else printf "%s\0" "$path" >>/tmp/unreadable; fi
        done' sh >/tmp/readable
    [ ! -s /tmp/unreadable ] || say unreadable "$(tr -dc '\0' </tmp/unreadable | wc -c)"
    omit "the workspace's user cannot read this file" </tmp/unreadable
    # Triples of path, attribute and value.
    git check-attr -z --stdin filter </tmp/readable 2>/dev/null | xargs -0 -r -n 300 -s 1500000 sh -c '
        while [ $# -gt 2 ]; do
            case "$3" in
            lfs | git-crypt | git-crypt-*) printf "%s\0%s\0" "$1" "$3" >>/tmp/filtered ;;
            *) printf "%s\0" "$1" ;;
            esac
            shift 3
        done' sh >/tmp/paths
    : >/tmp/held
    xargs -0 -r -n 2 sh -c "$judge_filtered" sh </tmp/filtered
    head -c 1048576 /tmp/unchanged >/out/unchanged
}

# PATH FILTER: a removed file, and a pointer, are committed as they are. A file whose pointer of Git LFS is in the index
# is unchanged. Any other file has the content that the filter produced; committing it would undo the filter.
judge_filtered=$(
    cat <<'END'
pointer() { head -c 1024 2>/dev/null | grep -a -A 9 '^version https://git-lfs.github.com/spec/' | sed -n "s/^$1//p"; }
if [ -L "$1" ] || [ ! -f "$1" ] || [ -n "$(pointer 'oid sha256:' <"$1")" ]; then
    printf '%s\0' "$1" >>/tmp/paths
    exit 0
fi
size=$(git cat-file blob ":0:$1" 2>/dev/null | pointer 'size ')
if [ -n "$size" ] && [ "$(stat -c %s -- "$1")" = "$size" ]; then
    wanted=$(git cat-file blob ":0:$1" | pointer 'oid sha256:')
    found=$(sha256sum <"$1")
    if [ "${found%% *}" = "$wanted" ]; then
        printf '%s\0' "$1" >>/tmp/unchanged
        exit 0
    fi
fi
printf '%s\0' "$1" >>/tmp/held
printf '%s\0%s\0' "$1" "the filter $2, which Relay does not run, makes its stored form: its content is in the diff and in no commit" >>/tmp/omitted
END
)

# ---- submodules: their changes are reported and not recorded ----

# head_of GIT_DIR: the commit of a repository's HEAD, or nothing.
head_of() {
    [ -f "$1/HEAD" ] || return
    value=$(head -c 1024 "$1/HEAD")
    case "$value" in
    'ref: '*)
        ref=${value#ref: }
        case "$ref" in *..*) return ;; esac
        if [ -f "$1/$ref" ]; then
            value=$(head -c 1024 "$1/$ref")
        else
            value=$(awk -v ref="$ref" '$2 == ref { print $1; exit }' "$1/packed-refs" 2>/dev/null)
        fi
        ;;
    esac
    printf '%s\n' "$value" | grep -x '[0-9a-f]\{40\}'
}

# differs DIRECTORY GIT_DIR COMMIT: whether a repository's work tree differs from its HEAD; runs nothing of the repository.
differs() {
    rm -rf /tmp/other && mkdir -p /tmp/other/objects/info /tmp/other/refs || return 1
    printf '%s\n' "$3" >/tmp/other/HEAD
    printf '[core]\n\trepositoryformatversion = 0\n' >/tmp/other/config
    printf '%s\n' "$2/objects" >/tmp/other/objects/info/alternates
    if [ -f "$2/index" ] && [ ! -L "$2/index" ] && [ "$(stat -c %s "$2/index")" -le 16777216 ]; then
        cp -p "$2/index" /tmp/other/index
    fi
    [ -n "$(GIT_DIR=/tmp/other GIT_WORK_TREE="$PWD/$1" GIT_INDEX_FILE=/tmp/other/index \
        git status --porcelain --ignore-submodules=all --untracked-files=normal 2>/dev/null | head -c 1)" ]
}

# submodule PATH COMMIT: how the submodule differs from the commit that the index names; empty if it does not.
submodule() {
    if [ -L "$1" ] || [ ! -d "$1" ]; then
        echo "the submodule was removed from the work tree"
        return
    fi
    inner="$PWD/$1/.git"
    if [ -f "$inner" ] && [ ! -L "$inner" ]; then
        inner=$(head -c 4096 "$inner" | sed -n 's/^gitdir: //p')
        case "$inner" in /*) ;; *) inner="$PWD/$1/$inner" ;; esac
    fi
    if [ ! -d "$inner" ]; then
        [ -z "$(ls -A "$1" 2>/dev/null | head -c 1)" ] || echo "files were put into the place of a submodule that is not checked out"
        return
    fi
    now=$(head_of "$inner")
    if [ "$now" != "$2" ]; then
        echo "the submodule is at another commit (${now:-none})"
    elif differs "$1" "$inner" "$2"; then
        echo "files of the submodule were changed"
    fi
}

# At most 200 submodules are compared.
submodules() {
    git ls-files -s -z 2>/dev/null | sed -zn 's/^160000 \([0-9a-f]*\) 0\t\(.*\)$/\1 \2/p' | sed -z 200q >/tmp/links
    while IFS= read -r link && [ -n "$link" ]; do
        said=$(submodule "${link#* }" "${link%% *}")
        [ -z "$said" ] || printf '%s\0' "${link#* }" | omit "$said"
    done <<END
$(tr '\n\0' '?\n' </tmp/links)
END
}

# Record as omitted the submodules that the pinned commit adds to the base commit.
new_links() {
    git diff-tree -r -z --no-renames "$BASE" "$pinned" 2>/dev/null | sed -zn '/^:[0-7]* 160000 /{n;p}' |
        omit "a commit of another repository (a submodule): the diff has its id, and not its files"
}

check_size() {
    bytes=$(cat /tmp/paths /tmp/held | xargs -0 -r stat -c %s -- 2>/dev/null | awk '{ sum += $1 } END { printf "%.0f", sum }')
    if [ "$bytes" -gt "$MAX_INPUT" ]; then
        pinned=$HEAD_COMMIT
        say too_big "$bytes"
        return 1
    fi
}

# snapshot OBJECTS: write the work tree as a tree object below OBJECTS; its id is $tree.
snapshot() {
    export GIT_OBJECT_DIRECTORY="$1" GIT_ALTERNATE_OBJECT_DIRECTORIES="$git_dir/objects:$MIRROR/objects"
    git update-index -z --add --remove --replace --stdin </tmp/paths 2>/tmp/errors &&
        tree=$(git write-tree 2>/tmp/errors)
    code=$?
    unset GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES
    return "$code"
}

# commit_tree OBJECTS FILE: write a commit of $tree whose parent is HEAD and whose message is in FILE.
commit_tree() {
    GIT_OBJECT_DIRECTORY="$1" GIT_ALTERNATE_OBJECT_DIRECTORIES="$git_dir/objects:$MIRROR/objects" \
        git commit-tree ${HEAD_COMMIT:+-p "$HEAD_COMMIT"} -F "$2" "$tree" 2>/tmp/errors
}

# The reason why no commit can be made on the branch; empty if one can.
obstacle() {
    for name in MERGE_HEAD CHERRY_PICK_HEAD REVERT_HEAD rebase-merge rebase-apply BISECT_LOG; do
        if [ -e "$git_dir/$name" ]; then
            echo "a merge, rebase, cherry-pick, revert or bisect is in progress ($name)"
            return
        fi
    done
    if [ -z "$BRANCH" ] || [ -z "$HEAD_COMMIT" ]; then
        echo "HEAD is on no branch with a commit"
    elif [ -e "$git_dir/index.lock" ] || [ -e "$git_dir/refs/heads/$BRANCH.lock" ]; then
        echo "another git command is running in the clone, or died there (a .lock file exists)"
    elif [ "$(branch_commit)" != "$HEAD_COMMIT" ] || [ "$(cat "$git_dir/HEAD")" != "ref: refs/heads/$BRANCH" ]; then
        echo "HEAD moved meanwhile"
    fi
}

branch_commit() {
    if [ -f "$git_dir/refs/heads/$BRANCH" ]; then
        cat "$git_dir/refs/heads/$BRANCH"
    else
        awk -v ref="refs/heads/$BRANCH" '$2 == ref { print $1; exit }' "$git_dir/packed-refs"
    fi
}

# Write the index before the branch: after a crash in between, the next run finds the same tree and commits it again.
move_branch() {
    (set -C && : >"$git_dir/index.lock") 2>/dev/null || return 1
    mkdir -p "$(dirname "$git_dir/refs/heads/$BRANCH")" &&
        (set -C && printf '%s\n' "$1" >"$git_dir/refs/heads/$BRANCH.lock") 2>/dev/null &&
        cp "$private/index" "$git_dir/index.lock" &&
        mv -T "$git_dir/index.lock" "$git_dir/index" &&
        mv -T "$git_dir/refs/heads/$BRANCH.lock" "$git_dir/refs/heads/$BRANCH" && return
    rm -f "$git_dir/index.lock" "$git_dir/refs/heads/$BRANCH.lock"
    return 1
}

# Commit the work tree on the branch; the objects go into the clone. A failure is reported as `commit_problem`.
commit_on_branch() {
    why=$(obstacle 2>/dev/null)
    if [ -n "$why" ]; then
        say commit_problem "$why"
    elif ! snapshot "$git_dir/objects"; then
        say commit_problem "the files cannot be stored: $(reason "$code")"
    elif [ "$tree" = "$head_tree" ]; then
        say nothing_to_commit yes
        pinned=$HEAD_COMMIT
    elif new=$(commit_tree "$git_dir/objects" /out/message) && move_branch "$new"; then
        say committed "$new"
        pinned=$new
    else
        say commit_problem "the commit cannot be written: $(reason 0)"
    fi
}

# Make a commit of the work tree that is on no branch; its objects stay in the tmpfs, which limits their size.
pin_work_tree() {
    cat /tmp/held >>/tmp/paths
    snapshot "$private/objects" || problem "the after-state cannot be stored: $(reason "$code")"
    if [ "$tree" = "$head_tree" ]; then
        pinned=$HEAD_COMMIT
    else
        echo 'Work tree after the step' >/tmp/message
        pinned=$(commit_tree "$private/objects" /tmp/message) || problem "the after-state cannot be stored: $(reason $?)"
    fi
}

# Pack the objects of the pinned commit that neither the mirror nor the store has.
write_pack() {
    {
        printf '%s\n' "$pinned" "^$BASE"
        for commit in $KNOWN; do
            ! git cat-file -e "$commit^{commit}" 2>/dev/null || printf '^%s\n' "$commit"
        done
        git --git-dir="$MIRROR" for-each-ref --count=500 --format='^%(objectname)' refs/heads
    } >/tmp/revisions
    (
        ulimit -f "$((MAX_PACK / 512))"
        exec git pack-objects --revs --thin --stdout --delta-base-offset -q --window=4 </tmp/revisions >/out/pack 2>/tmp/errors
    )
    code=$?
    [ "$code" -ne 153 ] || problem "the after-state is larger than $MAX_PACK bytes"
    [ "$code" -eq 0 ] || problem "the after-state cannot be packed: $(reason "$code")"
}

enter_clone() {
    for place in "/workspace/repos/$NAME" "$git_dir" "$git_dir/objects"; do
        if [ -L "$place" ] || [ ! -d "$place" ]; then
            problem "${place#/workspace/} is not a directory of its own"
        fi
    done
    cd -P "/workspace/repos/$NAME" || problem "the clone cannot be entered"
    make_private
}

after_state() {
    enter_clone
    head_tree=none
    if [ -n "$HEAD_COMMIT" ]; then
        head_tree=$(git rev-parse --verify -q "$HEAD_COMMIT^{tree}" 2>/tmp/errors) || problem "HEAD names a commit that does not exist"
    fi
    : >/tmp/omitted
    printf '%s\n' "$EXCLUDES" >/tmp/excludes
    trap 'head -c 1048576 /tmp/omitted >/out/omitted' EXIT
    read_status
    excluded_paths
    changed_paths
    submodules
    pinned=
    if check_size; then
        [ "$COMMIT" = no ] || commit_on_branch
        if [ -n "$pinned" ] && [ -s /tmp/held ]; then
            HEAD_COMMIT=$pinned
            head_tree=$tree
            pinned=
        fi
        [ -n "$pinned" ] || pin_work_tree
    elif [ "$COMMIT" != no ]; then
        say commit_problem "the changed files have $bytes bytes, more than can be stored"
    fi
    [ -n "$pinned" ] || problem "the changed files are too large, and there is no commit to keep instead"
    new_links
    write_pack
    say pinned "$pinned"
}

# ---- merge, replay: STORE MIRROR TARGET SOURCE BASE PARENTS MAX_PACK -----------------------------------------------------
# The workspace is not mounted: both sides are in the store and in the mirror. Reads /out/message, the message of a
# merge's commit. Writes /out/conflicts (paths that both sides changed, NUL-separated) and /out/pack.

open_store() {
    mkdir -p "$private/objects/info" "$private/objects/pack" "$private/refs" "$private/info"
    printf 'ref: refs/heads/none\n' >"$private/HEAD"
    printf '[core]\n\trepositoryformatversion = 0\n\tbare = true\n' >"$private/config"
    printf '%s\n' "$STORE/objects" "$MIRROR/objects" >"$private/objects/info/alternates"
    [ ! -s "$MIRROR/shallow" ] || cat "$MIRROR/shallow" >"$private/shallow"
    export GIT_DIR="$private"
    cd /tmp || problem "the git container has no /tmp"
    for wanted in $TARGET $SOURCE $BASE; do
        git cat-file -e "$wanted^{commit}" 2>/tmp/errors || problem "the commit $wanted is missing"
    done
}

# merge_trees OURS THEIRS BASE: the merged tree is $tree. An empty BASE: git finds the common ancestors. Conflicts end the
# run. Attributes are not read, so no merge driver is named.
merge_trees() {
    ours=$1
    theirs=$2
    if [ -n "$3" ]; then
        # git 2.39 has no option for the base. So: three commits with the three trees, two of which descend from the third.
        root=$(git commit-tree -m base "$3^{tree}" 2>/tmp/errors) &&
            ours=$(git commit-tree -m ours -p "$root" "$1^{tree}" 2>/tmp/errors) &&
            theirs=$(git commit-tree -m theirs -p "$root" "$2^{tree}" 2>/tmp/errors) ||
            problem "the trees cannot be read: $(reason $?)"
    fi
    git merge-tree --write-tree --name-only --no-messages -z "$ours" "$theirs" >/tmp/merged 2>/tmp/errors
    code=$?
    tree=$(tr '\0' '\n' </tmp/merged | head -n 1)
    case "$code" in
    0) return ;;
    1)
        sed -z 1d /tmp/merged | head -c 1048576 >/out/conflicts
        say conflict yes
        exit 0
        ;;
    esac
    problem "git cannot merge: $(reason "$code")"
}

tree_of() {
    git rev-parse --verify -q "$1^{tree}" 2>/tmp/errors || problem "the tree of $1 cannot be read"
}

# pack_new COMMIT: pack its objects that neither side has.
pack_new() {
    printf '%s\n' "$1" "^$TARGET" "^$SOURCE" >/tmp/revisions
    (
        ulimit -f "$((MAX_PACK / 512))"
        exec git pack-objects --revs --thin --stdout --delta-base-offset -q --window=4 </tmp/revisions >/out/pack 2>/tmp/errors
    )
    code=$?
    [ "$code" -ne 153 ] || problem "the new objects are larger than $MAX_PACK bytes"
    [ "$code" -eq 0 ] || problem "the new objects cannot be packed: $(reason "$code")"
}

merge() {
    open_store
    target_tree=$(tree_of "$TARGET")
    merge_trees "$TARGET" "$SOURCE" "$BASE"
    if [ "$tree" = "$target_tree" ]; then
        say same yes
        return
    fi
    second=
    [ "$PARENTS" = one ] || second="-p $SOURCE"
    new=$(git commit-tree -p "$TARGET" $second -F /out/message "$tree" 2>/tmp/errors) ||
        problem "the commit cannot be written: $(reason $?)"
    pack_new "$new"
    say head "$new"
}

# A commit whose changes the target has already is left out, and so are merge commits, as `git rebase` does.
replay() {
    open_store
    git rev-list --reverse --topo-order --no-merges --parents "$SOURCE" "^$BASE" "^$TARGET" >/tmp/commits 2>/tmp/errors ||
        problem "the commits cannot be listed: $(reason $?)"
    [ "$(wc -l </tmp/commits)" -le 1000 ] || problem "there are more than 1000 commits"
    tip=$TARGET
    count=0
    while read -r commit parent _; do
        [ -n "$parent" ] || problem "the commit $commit has no parent"
        say at "$commit"
        merge_trees "$tip" "$commit" "$parent"
        [ "$tree" != "$(tree_of "$tip")" ] || continue
        git log -1 --format=%B "$commit" >/tmp/message 2>/tmp/errors || problem "the commit $commit cannot be read"
        name=$(git log -1 --format=%an "$commit")
        address=$(git log -1 --format=%ae "$commit")
        tip=$(GIT_AUTHOR_NAME="${name:-$GIT_AUTHOR_NAME}" GIT_AUTHOR_EMAIL="${address:-$GIT_AUTHOR_EMAIL}" \
            GIT_AUTHOR_DATE="$(git log -1 --format='%ad' --date=raw "$commit")" \
            git commit-tree -p "$tip" -F /tmp/message "$tree" 2>/tmp/errors) ||
            problem "the commit $commit cannot be written again: $(reason $?)"
        count=$((count + 1))
    done </tmp/commits
    pack_new "$tip"
    say commits "$count"
    say head "$tip"
}

# ---- resolve, reset: NAME MIRROR HEAD_COMMIT BRANCH COMMIT EXCLUDES STORE ------------------------------------------------
# With a STORE the commit may be there only; its objects are then copied into the clone.

# find_target: the full id of the commit is $target.
find_target() {
    target=$(git rev-parse --verify -q "$COMMIT^{commit}" 2>/tmp/errors) ||
        problem "it has no commit $COMMIT, or several whose ids begin so"
}

take_from_store() {
    printf '%s\n' "$STORE/objects" >>"$private/objects/info/alternates"
    {
        printf '%s\n' "$COMMIT"
        [ -z "$HEAD_COMMIT" ] || printf '^%s\n' "$HEAD_COMMIT"
        git --git-dir="$MIRROR" for-each-ref --count=500 --format='^%(objectname)' refs/heads
    } >/tmp/revisions
    git pack-objects --revs --stdout -q --window=4 </tmp/revisions 2>/tmp/errors >/tmp/taken &&
        GIT_OBJECT_DIRECTORY="$git_dir/objects" git unpack-objects -q </tmp/taken 2>/tmp/errors ||
        problem "the commits cannot be copied into the clone: $(reason $?)"
}

resolve() {
    enter_clone
    find_target
    say head "$target"
}

# put FILE PLACE: move a file into the place of another, whatever that is.
put() {
    draft="$2.relay-$(cat /proc/sys/kernel/random/uuid)"
    mkdir -p "$(dirname "$2")" && cp "$1" "$draft" && mv -T "$draft" "$2"
}

# HEAD and the branch first, the index last: if this is interrupted, HEAD names the commit, and the index still lists the
# files of the old one, so that a second run removes those that the commit does not have.
reset() {
    enter_clone
    [ -z "${STORE:-}" ] || take_from_store
    find_target
    for lock in index HEAD "refs/heads/$BRANCH"; do
        [ ! -e "$git_dir/$lock.lock" ] || problem "another git command is running in the clone, or died there ($lock.lock)"
    done
    printf '%s\n' "$EXCLUDES" >/tmp/excludes
    printf '%s\n' "$target" >/tmp/branch
    printf 'ref: refs/heads/%s\n' "$BRANCH" >/tmp/head
    put /tmp/branch "$git_dir/refs/heads/$BRANCH" && put /tmp/head "$git_dir/HEAD" ||
        problem "the branch cannot be written"
    for state in MERGE_HEAD MERGE_MODE MERGE_MSG AUTO_MERGE SQUASH_MSG CHERRY_PICK_HEAD REVERT_HEAD sequencer rebase-merge \
        rebase-apply BISECT_LOG BISECT_START BISECT_NAMES BISECT_EXPECTED_REV; do
        rm -rf -- "${git_dir:?}/$state"
    done
    if ! git read-tree --reset -u --no-recurse-submodules "$target" 2>/tmp/errors; then
        rm -f "$private/index" "$private/index.lock"
        { [ -z "$HEAD_COMMIT" ] || git read-tree "$HEAD_COMMIT" 2>/tmp/errors; } &&
            git read-tree --reset -u --no-recurse-submodules "$target" 2>/tmp/errors ||
            problem "the files cannot be written: $(reason $?)"
    fi
    git clean -d -f -q 2>/tmp/errors || problem "new files cannot be removed: $(reason $?)"
    put "$private/index" "$git_dir/index" || problem "the index cannot be written"
    say head "$target"
}

# ---- cleaning: removal of files that the host itself does not touch ----------------------------------------------------

remove_partials() {
    cd -P /workspace/repos && rm -rf -- "./$NAME.partial-"*
}

empty_workspace() {
    find /workspace -mindepth 1 -delete
}

case "$1" in
checkout | after_state | merge | replay | resolve | reset | remove_partials | empty_workspace) "$1" ;;
*) echo "unknown verb $1" >&2 && exit 2 ;;
esac
