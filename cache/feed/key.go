package feed

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// KeySize is the length of the feed's key in bytes.
const KeySize = 32

// LoadKey reads the feed's key from path: 32 bytes, raw or as 64 hexadecimal
// digits. With create it makes one where there is no file. A key that others
// than its owner may write is refused. One that others may read is for the
// caller to complain of: that is how Kubernetes mounts secrets.
func LoadKey(path string, create bool) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && create {
		return createKey(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read the feed key: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the feed key: %w", err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("read the feed key: %s is no regular file", path)
	case info.Mode().Perm()&0o022 != 0:
		return nil, fmt.Errorf("feed key %s may be written by others (mode %#o): run chmod 600 %s, and make a new key if anybody did", path, info.Mode().Perm(), path)
	}
	// One byte more than the longest key, to notice a longer file.
	raw, err := io.ReadAll(io.LimitReader(f, 2*KeySize+3))
	if err != nil {
		return nil, fmt.Errorf("read the feed key %s: %w", path, err)
	}
	key, err := parseKey(raw)
	if err != nil {
		return nil, fmt.Errorf("feed key %s: %w", path, err)
	}
	return key, nil
}

func parseKey(raw []byte) ([]byte, error) {
	key := raw
	if len(raw) != KeySize {
		key = make([]byte, KeySize)
		digits := bytes.TrimRight(raw, "\r\n")
		if n, err := hex.Decode(key, digits[:min(len(digits), 2*KeySize)]); err != nil || n != KeySize || len(digits) != 2*KeySize {
			return nil, fmt.Errorf("it must be %d bytes, or %d hexadecimal digits such as 'openssl rand -hex %d' prints", KeySize, 2*KeySize, KeySize)
		}
	}
	if bytes.Equal(key, make([]byte, KeySize)) {
		return nil, errors.New("it is all zero; remove it to have one made")
	}
	return key, nil
}

// createKey makes the key, and the directory that it belongs into. Of two
// processes that do so at once, both get the one key that is in the file.
func createKey(path string) ([]byte, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the feed key's directory: %w", err)
	}
	key := make([]byte, KeySize)
	rand.Read(key)
	f, err := renameio.NewPendingFile(path, renameio.WithPermissions(0o600), renameio.IgnoreUmask())
	if err != nil {
		return nil, fmt.Errorf("make the feed key %s: %w", path, err)
	}
	defer func() { _ = f.Cleanup() }()
	_, err = f.Write(append(hex.AppendEncode(nil, key), '\n'))
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return nil, fmt.Errorf("make the feed key %s: %w", path, err)
	}
	switch err := os.Link(f.Name(), path); {
	case errors.Is(err, fs.ErrExist):
		return LoadKey(path, false)
	case err != nil: // a file system without links
		if err := f.CloseAtomicallyReplace(); err != nil {
			return nil, fmt.Errorf("make the feed key %s: %w", path, err)
		}
	}
	return key, nil
}
