package server_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/holdfast-authz/holdfast/extauthz/server"
)

func TestListenUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for _, mask := range []int{0, 0o022, 0o077} {
		old := syscall.Umask(mask)
		l, err := server.Listen("unix://" + path)
		syscall.Umask(old)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm(); mode != 0o660 {
			t.Errorf("umask %o: the socket has mode %o", mask, mode)
		}
		if _, err := server.Listen("unix://" + path); err == nil || !strings.Contains(err.Error(), "another process listens") {
			t.Errorf("the socket of a living server: %v", err)
		}
		if conn, err := net.Dial("unix", path); err != nil {
			t.Errorf("the living server has lost its socket: %v", err)
		} else {
			conn.Close()
		}
		// As a killed process leaves it: closed, the file still there.
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path); err != nil {
			t.Fatal(err)
		}
	}
	l, err := server.Listen("unix://" + path)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is left behind: %v", err)
	}
}

func TestListenRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, tt := range []struct{ name, address, want string }{
		{"a file", "unix://" + file, "no socket"},
		{"a link", "unix://" + link, "no socket"},
		{"relative path", "unix://check.sock", "absolute"},
		{"one slash", "unix:/run/check.sock", "unix:///absolute/path"},
		{"no path", "unix://", "absolute"},
		{"too long", "unix:///" + strings.Repeat("x", 200), "at most"},
		{"no such folder", "unix://" + dir + "/none/s", "no such file"},
		{"port in use", taken.Addr().String(), "in use"},
		{"no port", "127.0.0.1", "missing port"},
		{"no such port", "127.0.0.1:x", "x"},
	} {
		l, err := server.Listen(tt.address)
		if err == nil {
			l.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "mine" {
		t.Errorf("the file has been touched: %q %v", text, err)
	}
}
