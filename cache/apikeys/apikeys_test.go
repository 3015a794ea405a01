package apikeys

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// keys is a file with these keys, whose ids are the keys themselves.
func keys(names ...string) string {
	if len(names) == 0 {
		return "[]\n"
	}
	var b strings.Builder
	for _, name := range names {
		fmt.Fprintf(&b, "- id: %s\n  sha256: %s\n  expires: 2027-01-01T00:00:00Z\n", name, sumOf(name))
	}
	return b.String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(text), 0o600))
}

// wantKeys fails where other keys than these are in force.
func wantKeys(t *testing.T, s *Store, want ...string) {
	t.Helper()
	var got []string
	if set := s.set.Load(); set != nil {
		for _, e := range set.Entries() {
			got = append(got, e.ID)
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("keys %v, want %v", got, want)
	}
	for _, name := range want {
		if e, ok := s.Lookup(sha256.Sum256([]byte(name))); !ok || e.ID != name {
			t.Fatalf("%s: %+v, %v", name, e, ok)
		}
	}
	if e, ok := s.Lookup(sha256.Sum256([]byte("nobody's"))); ok {
		t.Fatalf("nobody's: %+v", e)
	}
	if st := s.Status(); st.Keys != len(want) {
		t.Fatalf("status %+v", st)
	}
}

// journal counts what was said.
type journal struct {
	mu    sync.Mutex
	lines bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.lines.Write(p)
}

func (j *journal) count(text string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.lines.String(), text)
}

// follow runs a test in a bubble with a store that follows FOLDER/keys.yaml.
func follow(t *testing.T, test func(t *testing.T, s *Store, log *journal, path string)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(dir, "keys.yaml")
		log := &journal{}
		s, err := New(Config{File: path, Logger: slog.New(slog.NewTextHandler(log, nil))})
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		synctest.Wait()
		test(t, s, log, path)
		cancel()
		must(t, <-done)
	})
}

// pass lets a bubble's time pass.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestFollow(t *testing.T) {
	follow(t, func(t *testing.T, s *Store, _ *journal, path string) {
		wantKeys(t, s)
		if s.Status().Usable {
			t.Error("usable without the file")
		}
		write(t, path, keys("one"))
		pass(time.Second)
		wantKeys(t, s, "one")
		first := s.set.Load()
		pass(time.Hour)
		if s.set.Load() != first {
			t.Error("an unchanged file was read anew")
		}

		write(t, path, keys("two", "three"))
		pass(time.Second)
		wantKeys(t, s, "two", "three")

		write(t, path+".new", keys("renamed"))
		must(t, os.Rename(path+".new", path))
		pass(time.Second)
		wantKeys(t, s, "renamed")

		must(t, os.Remove(path))
		pass(time.Second)
		wantKeys(t, s, "renamed")
		if st := s.Status(); !st.Failing || !st.Usable {
			t.Errorf("status %+v", st)
		}
		write(t, path, keys("renamed")) // what is in force already
		pass(time.Second)
		wantKeys(t, s, "renamed")
		if st := s.Status(); st.Failing || st.OK != 4 || st.Failed != 1 || st.File != path {
			t.Errorf("status %+v", st)
		}

		write(t, path, keys())
		pass(time.Second)
		wantKeys(t, s)
		if !s.Status().Usable {
			t.Error("a list without keys is not usable")
		}
	})
}

// TestSameStat: a rewrite of the same length within one tick of the file
// system's clock is a change all the same.
func TestSameStat(t *testing.T) {
	follow(t, func(t *testing.T, s *Store, _ *journal, path string) {
		stamp := time.Unix(1_700_000_000, 0)
		for _, name := range []string{"aaa", "bbb", "ccc"} {
			write(t, path, keys(name))
			must(t, os.Chtimes(path, stamp, stamp))
			pass(time.Second)
			wantKeys(t, s, name)
		}
	})
}

// TestConfigMap: a mounted ConfigMap changes by a symbolic link beside it.
func TestConfigMap(t *testing.T) {
	follow(t, func(t *testing.T, s *Store, _ *journal, path string) {
		dir := filepath.Dir(path)
		publish := func(version, name string) {
			t.Helper()
			must(t, os.Mkdir(filepath.Join(dir, version), 0o700))
			write(t, filepath.Join(dir, version, "keys.yaml"), keys(name))
			must(t, os.Symlink(version, filepath.Join(dir, "..data_tmp")))
			must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
		}
		publish("..v1", "one")
		must(t, os.Symlink(filepath.Join("..data", "keys.yaml"), path))
		pass(time.Second)
		wantKeys(t, s, "one")
		publish("..v2", "two")
		must(t, os.RemoveAll(filepath.Join(dir, "..v1")))
		pass(time.Second)
		wantKeys(t, s, "two")
	})
}

// TestHalfWritten: a file that is seen while it is written, at whatever byte,
// changes nothing and is not even complained about: no key is without its
// expiry for a moment, and none is gone.
func TestHalfWritten(t *testing.T) {
	follow(t, func(t *testing.T, s *Store, log *journal, path string) {
		write(t, path, keys("one"))
		pass(time.Second)
		wantKeys(t, s, "one")
		was := log.count("api keys")
		next := keys("one", "two", "three")
		for end := range next {
			write(t, path, next[:end])
			pass(poll) // exactly one look between two writes
			wantKeys(t, s, "one")
		}
		write(t, path, next)
		pass(time.Second)
		wantKeys(t, s, "one", "two", "three")
		for _, e := range s.set.Load().Entries() {
			if e.Expires.IsZero() {
				t.Errorf("%+v", e)
			}
		}
		if n := log.count("api keys") - was; n != 1 {
			t.Errorf("said %d times:\n%s", n, log.lines.String())
		}
	})
}

// TestBadFile: each bad content is said once, and the last good one is kept.
func TestBadFile(t *testing.T) {
	follow(t, func(t *testing.T, s *Store, log *journal, path string) {
		write(t, path, keys("good"))
		pass(time.Second)
		want := log.count("not taken")
		bad := func(put func()) {
			t.Helper()
			put()
			pass(10 * time.Second)
			wantKeys(t, s, "good")
			want++
			if n := log.count("not taken"); n != want {
				t.Fatalf("said %d times, want %d:\n%s", n, want, log.lines.String())
			}
			if st := s.Status(); !st.Failing || !st.Usable || st.LastError == "" || st.LastErrorAt.IsZero() {
				t.Fatalf("status %+v", st)
			}
		}
		bad(func() { write(t, path, "") })
		bad(func() { write(t, path, "- {") })
		bad(func() { write(t, path, keys("same", "same")) })
		bad(func() { must(t, os.Truncate(path, maxFile+1)) })
		bad(func() { must(t, os.Remove(path)) })
		bad(func() { must(t, os.Mkdir(path, 0o700)) })
		must(t, os.Remove(path))
		bad(func() { must(t, os.WriteFile(path, []byte("x"), 0o600)) })
		must(t, os.Remove(path))
		must(t, syscall.Mkfifo(path, 0o600)) // opening one must not wait for its writer
		pass(time.Second)
		wantKeys(t, s, "good")
		must(t, os.Remove(path))
		write(t, path, keys("better"))
		pass(time.Second)
		wantKeys(t, s, "better")
		if st := s.Status(); st.Failing {
			t.Errorf("status %+v", st)
		}
	})
}

// TestLoad: at a start the file is read at once, and what is wrong is told.
func TestLoad(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("no file is named")
	}
	path := filepath.Join(t.TempDir(), "keys.yaml")
	s, err := New(Config{File: path})
	must(t, err)
	if err := s.Load(); !errors.Is(err, fs.ErrNotExist) || s.Status().Usable {
		t.Errorf("missing: %v", err)
	}
	write(t, path, "- {}")
	var fe *FileError
	if err := s.Load(); !errors.As(err, &fe) || len(fe.Problems) != 2 || !strings.HasPrefix(fe.Lines()[0], path+":1:3: ") {
		t.Errorf("bad: %v", err)
	}
	write(t, path, keys("one"))
	must(t, s.Load())
	wantKeys(t, s, "one")
	write(t, path, "- {}")
	if err := s.Load(); err == nil {
		t.Error("bad: taken")
	}
	wantKeys(t, s, "one")
}

// TestLookupWhileReading: checks go on while sets are exchanged, and allocate
// nothing.
func TestLookupWhileReading(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.yaml")
	s, err := New(Config{File: path})
	must(t, err)
	write(t, path, keys("always"))
	must(t, s.Load())
	sum := sha256.Sum256([]byte("always"))
	var workers sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		workers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if e, ok := s.Lookup(sum); !ok || e.ID != "always" {
					t.Errorf("%+v, %v", e, ok)
					return
				}
				s.Status()
			}
		})
	}
	for i := range 200 {
		write(t, path, keys("always", fmt.Sprint("other", i)))
		must(t, s.Load())
	}
	close(stop)
	workers.Wait()
	if n := testing.AllocsPerRun(100, func() { s.Lookup(sum) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestManyKeys: as many as the size bound lets in are read in a moment.
func TestManyKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.yaml")
	s, err := New(Config{File: path})
	must(t, err)
	names := make([]string, 20_000)
	for i := range names {
		names[i] = fmt.Sprint("key", i)
	}
	write(t, path, keys(names...))
	must(t, s.Load())
	if e, ok := s.Lookup(sha256.Sum256([]byte("key19999"))); !ok || e.ID != "key19999" {
		t.Errorf("%+v, %v", e, ok)
	}
}
