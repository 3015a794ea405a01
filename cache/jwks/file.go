package jwks

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/holdfast-authz/holdfast/cache/file"
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
	set, err := parse(bytes.TrimSpace(doc), s.spec.Bundle)
	if err != nil {
		err = fmt.Errorf("%s: %w", s.spec.File, err)
	}
	s.content, s.verdict = sum, err
	return set, err
}

// readRegular reads the file, with the kind of what went wrong.
func readRegular(path string) ([]byte, error) {
	doc, err := file.Read(path, maxBody)
	switch {
	case errors.Is(err, file.ErrTooLarge):
		return nil, &fault{"size", err}
	case err != nil:
		return nil, &fault{"file", err}
	}
	return doc, nil
}
