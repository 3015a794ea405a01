package jwks

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/holdfast-authz/holdfast/cache/jose"
)

// readFile looks at the file and parses it where its content is another than
// before. It goes by content alone: a mounted ConfigMap swaps a symbolic link
// two folders up, and a rewrite within a clock tick leaves the time as it was.
func (s *source) readFile() (*jose.KeySet, error) {
	doc, err := readRegular(s.spec.File)
	if err != nil {
		s.content = [sha256.Size]byte{}
		return nil, err
	}
	sum := sha256.Sum256(doc)
	if sum == s.content && (s.verdict != nil || s.keys.Load() != nil) {
		return nil, s.verdict
	}
	set, err := parse(bytes.TrimSpace(doc))
	if err != nil {
		err = fmt.Errorf("%s: %w", s.spec.File, err)
	}
	s.content, s.verdict = sum, err
	return set, err
}

// readRegular reads a file of at most maxBody bytes. It neither waits for a
// pipe's other end nor reads a device.
func readRegular(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, &fault{"file", err}
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, &fault{"file", err}
	}
	if !info.Mode().IsRegular() {
		return nil, &fault{"file", fmt.Errorf("%s is not a regular file", path)}
	}
	doc, err := io.ReadAll(io.LimitReader(f, maxBody+1))
	switch {
	case err != nil:
		return nil, &fault{"file", err}
	case len(doc) > maxBody:
		return nil, &fault{"size", fmt.Errorf("%s has more than %d bytes", path, maxBody)}
	}
	return doc, nil
}
