// Package file reads the small files that are watched: key sets, API keys.
package file

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// ErrTooLarge is a file with more than the bytes that are read of it.
var ErrTooLarge = errors.New("file is too large")

// Read reads a file of at most most bytes. It goes where symbolic links lead: a
// mounted ConfigMap is swapped by one. It neither waits for a pipe's other end
// nor reads a device. Its errors name the path.
func Read(path string, most int) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	// Its size is a guess, for a file that is being written.
	doc := bytes.NewBuffer(make([]byte, 0, min(info.Size(), int64(most))+bytes.MinRead))
	if _, err := doc.ReadFrom(io.LimitReader(f, int64(most)+1)); err != nil {
		return nil, err
	}
	if doc.Len() > most {
		return nil, fmt.Errorf("%s has more than %d bytes: %w", path, most, ErrTooLarge)
	}
	return doc.Bytes(), nil
}
