package oci

import (
	"crypto/sha256"
	"encoding/hex"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/kubeovn/kube-ovn-ccm/test/e2e/assets/rootfs"
)

func newLayer(tree *rootfs.Tree, compressed bool) (v1.Layer, error) {
	if compressed {
		return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return read(tree), nil }, tarball.WithMediaType(types.OCILayer))
	}
	hash, size := sha256.New(), counter(0)
	if err := tree.WriteTar(io.MultiWriter(hash, &size)); err != nil {
		return nil, err
	}
	digest := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(hash.Sum(nil))}
	return plainLayer{tree: tree, digest: digest, size: int64(size)}, nil
}

// plainLayer is a layer that is not compressed. Its content is made from the
// tree whenever it is read: a tree always gives the same bytes, and the big
// ones are better not held in memory.
type plainLayer struct {
	tree   *rootfs.Tree
	digest v1.Hash
	size   int64
}

func (l plainLayer) Digest() (v1.Hash, error)             { return l.digest, nil }
func (l plainLayer) DiffID() (v1.Hash, error)             { return l.digest, nil }
func (l plainLayer) Size() (int64, error)                 { return l.size, nil }
func (l plainLayer) MediaType() (types.MediaType, error)  { return types.OCIUncompressedLayer, nil }
func (l plainLayer) Compressed() (io.ReadCloser, error)   { return read(l.tree), nil }
func (l plainLayer) Uncompressed() (io.ReadCloser, error) { return read(l.tree), nil }

// read streams a tree as an archive. A tree that cannot be read any more shows
// as an error of the reader.
func read(tree *rootfs.Tree) io.ReadCloser {
	r, w := io.Pipe()
	go func() { w.CloseWithError(tree.WriteTar(w)) }()
	return r
}

// counter counts the bytes written to it.
type counter int64

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}
