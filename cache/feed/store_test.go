package feed

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-authz/holdfast/cache"
)

const (
	brokerDir = "jetstream"
	blockFile = "jetstream/jetstream/$G/streams/HOLDFAST/msgs/1.blk"
	indexFile = "jetstream/jetstream/$G/streams/HOLDFAST/msgs/index.db"
)

// store is a directory with four revocations in it, and copies of the broker's
// files as they were after two and after four of them.
type store struct{ dir, early, good string }

func makeStore(t *testing.T) store {
	t.Helper()
	s := store{t.TempDir(), filepath.Join(t.TempDir(), "c"), filepath.Join(t.TempDir(), "c")}
	fill := func(sids ...string) {
		run(t, s.dir, func(_ *Embedded, r *replica) {
			r.synced(t)
			for _, sid := range sids {
				r.revoke(t, sid)
			}
		})
	}
	fill("s1", "s2")
	copyTree(t, s.early, filepath.Join(s.dir, brokerDir))
	fill("s3", "s4")
	copyTree(t, s.good, filepath.Join(s.dir, brokerDir))
	return s
}

func copyTree(t *testing.T, to, from string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

func (s store) flip(t *testing.T, at func(size int) int) {
	t.Helper()
	path := filepath.Join(s.dir, blockFile)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	scribble(t, path, int64(at(int(info.Size()))))
}

func (s store) remove(t *testing.T, name string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(s.dir, name)); err != nil {
		t.Fatal(err)
	}
}

// What disks, backups and intruders do to the broker's files between two runs:
// the broker starts without a word, and the feed says it.
func TestStoreTampered(t *testing.T) {
	half := func(size int) int { return size / 2 }
	for name, tamper := range map[string]func(t *testing.T, s store){
		"a bit flipped in the middle": func(t *testing.T, s store) { s.flip(t, half) },
		"a bit flipped in the middle, index removed": func(t *testing.T, s store) {
			s.flip(t, half)
			s.remove(t, indexFile)
		},
		"a bit flipped in the first record": func(t *testing.T, s store) { s.flip(t, func(int) int { return 10 }) },
		"a bit flipped in the last record":  func(t *testing.T, s store) { s.flip(t, func(n int) int { return n - 20 }) },
		"block cut off": func(t *testing.T, s store) {
			truncate(t, filepath.Join(s.dir, blockFile), 900)
		},
		"block cut off, index removed": func(t *testing.T, s store) {
			truncate(t, filepath.Join(s.dir, blockFile), 900)
			s.remove(t, indexFile)
		},
		"block emptied": func(t *testing.T, s store) { truncate(t, filepath.Join(s.dir, blockFile), 0) },
		"block removed": func(t *testing.T, s store) { s.remove(t, blockFile) },
		"stream removed": func(t *testing.T, s store) {
			s.remove(t, filepath.Dir(filepath.Dir(blockFile)))
		},
		"everything of the broker removed": func(t *testing.T, s store) { s.remove(t, brokerDir) },
		"an old copy restored":             func(t *testing.T, s store) { copyTree(t, filepath.Join(s.dir, brokerDir), s.early) },
		"the stream of another feed with this key": func(t *testing.T, s store) {
			other := makeStore(t)
			copyTree(t, filepath.Join(s.dir, brokerDir), other.good)
		},
		"another stream, longer": func(t *testing.T, s store) {
			s.remove(t, brokerDir)
			e := openEmbedded(t, s.dir)
			for i := range uint64(20) {
				if _, err := e.Append(t.Context(), i, []byte("x")); err != nil {
					t.Fatal(err)
				}
			}
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := makeStore(t)
			tamper(t, s)
			run(t, s.dir, func(_ *Embedded, r *replica) {
				t.Log(r.broken(t))
				if _, _, err := r.Append(t.Context(), revoke("s9")); !errors.Is(err, ErrNotDurable) {
					t.Errorf("append: %v", err)
				}
				if got := r.Status(); got.Synced || r.sync.Health(time.Now(), time.Hour) != cache.Stale {
					t.Errorf("%+v", got)
				}
			})
			copyTree(t, filepath.Join(s.dir, brokerDir), s.good)
			run(t, s.dir, func(_ *Embedded, r *replica) {
				r.synced(t)
				for _, sid := range []string{"s1", "s2", "s3", "s4"} {
					if !r.has(sid) {
						t.Errorf("%s is lost", sid)
					}
				}
				if r.has("s9") {
					t.Error("what was refused is there")
				}
			})
		})
	}
}

// A bit that flips under a running broker is noticed by the audit, once the
// broker reads the disk again, and by the next start at the latest.
func TestStoreTamperedWhileUp(t *testing.T) {
	for name, tamper := range map[string]func(t *testing.T, e *Embedded, r *replica){
		"stream deleted": func(t *testing.T, e *Embedded, _ *replica) {
			if err := e.broker.js.DeleteStream(t.Context(), string(streamName)); err != nil {
				t.Fatal(err)
			}
		},
		"stream made anew": func(t *testing.T, e *Embedded, _ *replica) {
			b := e.broker
			// Nobody may start the broker anew, for want of a stream, between
			// the two.
			e.turn <- struct{}{}
			defer func() { <-e.turn }()
			if err := b.js.DeleteStream(t.Context(), string(streamName)); err != nil {
				t.Fatal(err)
			}
			// It removes the old one's files in its own time, and may refuse to
			// make a new one until that is over.
			folder := filepath.Join(e.cfg.Directory, filepath.Dir(filepath.Dir(blockFile)))
			for _, err := os.Stat(folder); err == nil; _, err = os.Stat(folder) {
				runtime.Gosched()
			}
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for end := time.Now().Add(20 * time.Second); ; <-tick.C {
				_, err := b.js.CreateStream(t.Context(), streamConfig(streamName, 1))
				if err == nil {
					break
				}
				if time.Now().After(end) {
					t.Fatal(err)
				}
			}
		},
		"an old record published again": func(t *testing.T, e *Embedded, _ *replica) {
			b, err := e.Get(t.Context(), 3)
			if err != nil {
				t.Fatal(err)
			}
			publish(t, e, b)
		},
		"noise published": func(t *testing.T, e *Embedded, _ *replica) { publish(t, e, []byte("noise")) },
		"a record of another feed published": func(t *testing.T, e *Embedded, r *replica) {
			b, _ := seal(testKey, position{epoch: Epoch{1}, number: r.Status().Number}, typeTick, when, nil)
			publish(t, e, b)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, t.TempDir(), func(e *Embedded, r *replica) {
				r.synced(t).revoke(t, "s1")
				tamper(t, e, r)
				t.Log(r.broken(t))
				if _, _, err := r.Append(t.Context(), revoke("s9")); !errors.Is(err, ErrNotDurable) {
					t.Errorf("append: %v", err)
				}
				if !r.has("s1") {
					t.Error("what was applied is lost")
				}
			})
		})
	}
}

func publish(t *testing.T, e *Embedded, b []byte) {
	t.Helper()
	if _, err := e.broker.js.Publish(t.Context(), streamName.subject(), b); err != nil {
		t.Fatal(err)
	}
}

// The broker's dedupe window can not be used to keep a coming record out.
func TestMessageIDIsNotUsed(t *testing.T) {
	run(t, t.TempDir(), func(e *Embedded, r *replica) {
		r.synced(t)
		n := r.revoke(t, "s1")
		b, err := e.Get(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		_, err = e.broker.js.Publish(t.Context(), streamName.subject(), b, jetstream.WithMsgID(string(b[:16])), jetstream.WithExpectLastSequence(1))
		if err == nil || !strings.Contains(err.Error(), "wrong last sequence") {
			t.Errorf("a replay was not stopped by its place: %v", err)
		}
		r.revoke(t, "s2")
	})
}
