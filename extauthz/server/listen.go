package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	unixScheme = "unix://"
	socketMode = 0o660 // the proxy is in our group; nobody else may ask
	// maxSocketPath: sun_path has 108 bytes on Linux, 104 on macOS, with its end.
	maxSocketPath = 103
	probeTimeout  = time.Second
)

// Listen opens host:port or unix:///path. A socket file that a dead process
// has left is replaced; one on which somebody listens is not, nor is any other
// file.
func Listen(address string) (net.Listener, error) {
	path, isUnix := strings.CutPrefix(address, unixScheme)
	if !isUnix {
		if strings.HasPrefix(address, "unix:") {
			return nil, fmt.Errorf("listen on %q: write a Unix socket as unix:///absolute/path", address)
		}
		return net.Listen("tcp", address)
	}
	if !filepath.IsAbs(path) {
		return nil, fmt.Errorf("listen on %q: the socket's path must be absolute: unix:///absolute/path", address)
	}
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("listen on %q: the socket's path has %d bytes, the system takes at most %d", address, len(path), maxSocketPath)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	// The socket's own mode becomes the file's, so that there is no moment in
	// which others may connect (Linux; elsewhere the error does not matter,
	// the chmod below follows at once).
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = syscall.Fchmod(int(fd), socketMode) })
	}}
	l, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, socketMode); err != nil { // the umask may have taken bits away
		return nil, errors.Join(fmt.Errorf("set the mode of the socket: %w", err), l.Close())
	}
	return l, nil
}

// removeStale removes a socket file on which nobody listens.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for an old socket: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("listen on unix://%s: there is a file that is no socket; move it away or choose another path", path)
	}
	conn, err := net.DialTimeout("unix", path, probeTimeout)
	if err == nil {
		_ = conn.Close()
		return fmt.Errorf("listen on unix://%s: another process listens there", path)
	}
	// Only a refusal says that nobody listens: a full queue or a missing right
	// does not.
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("listen on unix://%s: can not tell whether the old socket is in use: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the old socket: %w", err)
	}
	return nil
}
