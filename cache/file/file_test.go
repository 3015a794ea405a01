package file

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestRead(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		os.WriteFile(at("file"), []byte("12345678"), 0o600),
		os.WriteFile(at("empty"), nil, 0o600),
		os.Symlink("file", at("link")),
		os.Symlink("nowhere", at("dangling")),
		os.Symlink("/dev/zero", at("device")),
		os.Mkdir(at("folder"), 0o700),
		syscall.Mkfifo(at("pipe"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{"file": "12345678", "link": "12345678", "empty": ""} {
		if doc, err := Read(at(name), 8); err != nil || string(doc) != want {
			t.Errorf("%s: %q, %v", name, doc, err)
		}
	}
	for _, name := range []string{"missing", "dangling", "device", "folder", "pipe"} {
		if doc, err := Read(at(name), 8); err == nil || errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), at(name)) {
			t.Errorf("%s: %q, %v", name, doc, err)
		}
	}
	if _, err := Read(at("file"), 7); !errors.Is(err, ErrTooLarge) {
		t.Errorf("one byte more: %v", err)
	}
}
