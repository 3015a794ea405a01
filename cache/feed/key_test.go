package feed

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLoadKeyMakesOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "feed.key")
	if _, err := LoadKey(path, false); err == nil {
		t.Fatal("a key that is not there was read")
	}
	key, err := LoadKey(path, true)
	if err != nil || len(key) != KeySize {
		t.Fatal(key, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(info.Mode(), err)
	}
	for _, create := range []bool{true, false} {
		if again, err := LoadKey(path, create); err != nil || !bytes.Equal(again, key) {
			t.Fatalf("create %v: %x %v", create, again, err)
		}
	}
	other, err := LoadKey(filepath.Join(t.TempDir(), "k"), true)
	if err != nil || bytes.Equal(other, key) {
		t.Fatal("two keys are one", err)
	}
}

func TestLoadKey(t *testing.T) {
	raw := bytes.Repeat([]byte{0xa5}, KeySize)
	digits := hex.EncodeToString(raw)
	for _, tt := range []struct {
		name, text string
		mode       os.FileMode
		want       string // "" = accepted
	}{
		{"raw", string(raw), 0o600, ""},
		{"hex", digits, 0o600, ""},
		{"hex and newline", digits + "\n", 0o400, ""},
		{"hex and CRLF", strings.ToUpper(digits) + "\r\n", 0o600, ""},
		{"empty", "", 0o600, "must be 32 bytes"},
		{"31 bytes", string(raw[1:]), 0o600, "must be 32 bytes"},
		{"33 bytes", string(raw) + "\n", 0o600, "must be 32 bytes"},
		{"short hex", digits[2:], 0o600, "must be 32 bytes"},
		{"long hex", digits + "00", 0o600, "must be 32 bytes"},
		{"hex and text", digits + "\nx", 0o600, "must be 32 bytes"},
		{"not hex", strings.Repeat("z", 64), 0o600, "must be 32 bytes"},
		{"zero", string(make([]byte, KeySize)), 0o600, "all zero"},
		{"others may read", digits, 0o644, ""},
		{"group may write", digits, 0o620, "chmod 600"},
		{"world may write", digits, 0o602, "chmod 600"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, tt.mode); err != nil {
				t.Fatal(err)
			}
			key, err := LoadKey(path, true)
			if tt.want == "" {
				if err != nil || !bytes.Equal(key, raw) {
					t.Fatalf("%x %v", key, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) {
				t.Fatalf("%v, want %q and the path", err, tt.want)
			}
		})
	}
	if _, err := LoadKey(t.TempDir(), true); err == nil || !strings.Contains(err.Error(), "regular file") {
		t.Errorf("a directory: %v", err)
	}
}

// Several processes that start in a new directory at once have one key.
func TestLoadKeyAtOnce(t *testing.T) {
	for range 50 {
		path := filepath.Join(t.TempDir(), "data", "feed.key")
		keys := make(chan []byte, 8)
		for range cap(keys) {
			go func() {
				key, err := LoadKey(path, true)
				if err != nil {
					t.Error(err)
				}
				keys <- key
			}()
		}
		first := <-keys
		for range cap(keys) - 1 {
			if key := <-keys; !bytes.Equal(key, first) {
				t.Fatalf("two keys: %x and %x", first, key)
			}
		}
	}
}
