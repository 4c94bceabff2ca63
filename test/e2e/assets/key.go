package assets

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// keyLength is the number of hexadecimal digits of a key: enough that two
// contents never meet, and short enough to read in a path.
const keyLength = 16

// key gathers everything that a build depends on. The first error sticks and
// comes out of sum.
type key struct {
	hash hash.Hash
	err  error
}

func newKey() *key { return &key{hash: sha256.New()} }

// text adds strings. They are length-prefixed: ("ab","c") differs from
// ("a","bc").
func (k *key) text(values ...string) *key {
	for _, v := range values {
		k.length(int64(len(v)))
		k.hash.Write([]byte(v))
	}
	return k
}

// file adds the content of the file at root/name under its name.
func (k *key) file(root, name string) *key {
	if k.err != nil {
		return k
	}
	f, err := os.Open(filepath.Join(root, name))
	if err != nil {
		k.err = fmt.Errorf("hashing: %w", err)
		return k
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		k.err = fmt.Errorf("hashing: %w", err)
		return k
	}
	k.text(name)
	k.length(info.Size())
	if _, err := io.Copy(k.hash, f); err != nil {
		k.err = fmt.Errorf("hashing %s: %w", name, err)
	}
	return k
}

// tree adds every regular file of root/name for which want returns true, in
// the order of their names. A tree that does not exist is empty.
func (k *key) tree(root, name string, want func(path string) bool) *key {
	if k.err != nil {
		return k
	}
	err := fs.WalkDir(os.DirFS(root), name, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && os.IsNotExist(err) && path == name:
			return fs.SkipAll
		case err != nil:
			return err
		case d.Type().IsRegular() && want(path):
			k.file(root, path)
		}
		return k.err
	})
	if err != nil && k.err == nil {
		k.err = fmt.Errorf("hashing %s: %w", name, err)
	}
	return k
}

// embedded adds every file of a file system that is part of this program.
func (k *key) embedded(fsys fs.FS) *key {
	err := fs.WalkDir(fsys, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := fs.ReadFile(fsys, path)
		k.text(path, string(content))
		return err
	})
	if err != nil && k.err == nil {
		k.err = fmt.Errorf("hashing the builder: %w", err)
	}
	return k
}

// sum returns the key of everything added.
func (k *key) sum() (string, error) {
	if k.err != nil {
		return "", k.err
	}
	return hex.EncodeToString(k.hash.Sum(nil))[:keyLength], nil
}

func (k *key) length(n int64) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	k.hash.Write(b[:])
}

// isKey reports whether s looks like a key.
func isKey(s string) bool {
	return len(s) == keyLength && strings.Trim(s, "0123456789abcdef") == ""
}

// goSource is true for files that end up in a program: everything but tests.
func goSource(path string) bool { return !strings.HasSuffix(path, "_test.go") }
