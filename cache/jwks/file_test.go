package jwks

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// folder runs a test in a bubble with a store that follows FOLDER/keys.json.
func folder(t *testing.T, test func(t *testing.T, s *Store, log *journal, path string)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(dir, "keys.json")
		log := &journal{}
		s := open(t, Config{Logger: log.logger(), Sources: []Source{{Issuer: iss, File: path, Refresh: time.Second, MaxStale: 10 * time.Minute}}})
		stop := run(t, s)
		defer stop()
		synctest.Wait()
		test(t, s, log, path)
	})
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestFile: a file that appears, changes in place or by rename, is half
// written, goes and comes back.
func TestFile(t *testing.T) {
	folder(t, func(t *testing.T, s *Store, log *journal, path string) {
		wantKids(t, s, iss)
		if ok, _ := s.Ready(); ok {
			t.Error("ready without the file")
		}
		write(t, path, setOf(t, "one"))
		pass(time.Second)
		wantKids(t, s, iss, "one")
		first, _ := s.KeySet(iss)

		pass(20 * time.Minute) // a file that nobody touches does not grow stale
		if set, ok := s.KeySet(iss); !ok || set != first {
			t.Error("an unchanged file gave another set, or none")
		}

		next := setOf(t, "two", "three")
		write(t, path, next[:len(next)/2])
		pass(time.Second)
		wantKids(t, s, iss, "one")
		write(t, path, next)
		pass(time.Second)
		wantKids(t, s, iss, "two", "three")

		write(t, path+".new", setOf(t, "renamed"))
		must(t, os.Rename(path+".new", path))
		pass(time.Second)
		wantKids(t, s, iss, "renamed")

		must(t, os.Remove(path))
		pass(time.Second)
		wantKids(t, s, iss, "renamed")
		write(t, path, setOf(t, "back"))
		pass(time.Second)
		wantKids(t, s, iss, "back")
	})
}

// TestFileSameStat: a rewrite of the same length within one tick of the file
// system's clock is a change all the same.
func TestFileSameStat(t *testing.T) {
	folder(t, func(t *testing.T, s *Store, _ *journal, path string) {
		stamp := time.Unix(1_700_000_000, 0)
		for _, kid := range []string{"aaa", "bbb", "ccc"} {
			write(t, path, setOf(t, kid))
			must(t, os.Chtimes(path, stamp, stamp))
			pass(time.Second)
			wantKids(t, s, iss, kid)
		}
	})
}

// TestConfigMap: a mounted ConfigMap changes by a symbolic link beside it.
func TestConfigMap(t *testing.T) {
	folder(t, func(t *testing.T, s *Store, _ *journal, path string) {
		dir := filepath.Dir(path)
		publish := func(version, kid string) {
			t.Helper()
			must(t, os.Mkdir(filepath.Join(dir, version), 0o700))
			write(t, filepath.Join(dir, version, "keys.json"), setOf(t, kid))
			must(t, os.Symlink(version, filepath.Join(dir, "..data_tmp")))
			must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
		}
		publish("..v1", "one")
		must(t, os.Symlink(filepath.Join("..data", "keys.json"), path))
		pass(time.Second)
		wantKids(t, s, iss, "one")
		publish("..v2", "two")
		must(t, os.RemoveAll(filepath.Join(dir, "..v1")))
		pass(time.Second)
		wantKids(t, s, iss, "two")
	})
}

// TestBadFile: each bad content is logged once, and the last good one is kept
// until it is too old.
func TestBadFile(t *testing.T) {
	folder(t, func(t *testing.T, s *Store, log *journal, path string) {
		write(t, path, setOf(t, "good"))
		pass(time.Second)
		want := log.count("not refreshed")
		bad := func(put func()) {
			t.Helper()
			put()
			pass(time.Minute)
			wantKids(t, s, iss, "good")
			want++
			if n := log.count("not refreshed"); n != want {
				t.Fatalf("logged %d times, want %d:\n%s", n, want, log)
			}
		}
		bad(func() { write(t, path, "") })
		bad(func() { write(t, path, `{"keys":[]}`) })
		bad(func() { write(t, path, setOf(t, "same", "same")) })
		bad(func() { must(t, os.Truncate(path, maxBody+1)) })
		bad(func() { must(t, os.Remove(path)) })
		write(t, path, setOf(t, "good"))
		pass(time.Second)
		must(t, os.Remove(path))
		bad(func() { must(t, os.Mkdir(path, 0o700)) })
		must(t, os.Remove(path))
		must(t, syscall.Mkfifo(path, 0o600)) // opening one must not wait for its writer
		pass(time.Second)
		wantKids(t, s, iss, "good")
		must(t, os.Remove(path))
		must(t, os.Symlink("/dev/zero", path))
		pass(time.Second)
		wantKids(t, s, iss, "good")

		pass(10 * time.Minute)
		wantKids(t, s, iss)
		if n := log.count("too old"); n != 1 {
			t.Errorf("logged %d times:\n%s", n, log)
		}
		must(t, os.Remove(path))
		write(t, path, setOf(t, "better"))
		pass(time.Second)
		wantKids(t, s, iss, "better")
		if ok, why := s.Ready(); !ok {
			t.Errorf("not ready: %s", why)
		}
	})
}

// TestFileWanted: asking for a file's keys costs nothing, and breaks nothing.
func TestFileWanted(t *testing.T) {
	folder(t, func(t *testing.T, s *Store, _ *journal, path string) {
		write(t, path, setOf(t, "one"))
		for range 5000 {
			s.Wanted(iss)
			pass(time.Millisecond)
		}
		if st := s.Status()[0]; st.OK+st.Failed > 13 || st.Source != "file" || st.From != path {
			t.Errorf("status %+v", st)
		}
		write(t, path, setOf(t, "two"))
		pass(time.Second)
		wantKids(t, s, iss, "two")
	})
}

// TestBundleFile: the file of a trust domain is read as a SPIFFE bundle.
func TestBundleFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bundle.json")
	write(t, path, strings.Replace(setOf(t, "svid", "other"), `"use":"sig"`, `"use":"jwt-svid"`, 1))
	for bundle, want := range map[bool]string{true: "svid", false: "other"} {
		s := open(t, Config{Sources: []Source{{Issuer: iss, File: path, Bundle: bundle}}})
		must(t, s.Refresh(t.Context(), iss))
		wantKids(t, s, iss, want)
	}
}
