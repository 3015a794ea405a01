package feed

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-authz/holdfast/cache"
)

// saved is a machine that was stopped: its log, its head and its snapshot.
type saved struct {
	Snapshot
	log   *Memory
	said  *journal
	at    cache.Position
	marks Marks
	bytes []byte
}

// saveOne revokes s1 and s2, the latter in the last record, and saves that.
func saveOne(t testing.TB) *saved {
	t.Helper()
	dir := t.TempDir()
	head, err := OpenHead(filepath.Join(dir, "feed.head"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = head.Close() })
	s := &saved{log: &Memory{}, said: &journal{}}
	s.Snapshot = Snapshot{
		Path: filepath.Join(dir, "index.snapshot"), Key: testKey, Log: s.log, Head: head,
		Logger: slog.New(slog.NewTextHandler(s.said, nil)),
	}
	r := start(t, Config{Log: s.log, Head: head, MaxAge: time.Hour}).synced(t)
	first := r.revoke(t, "s1")
	r.revoke(t, "s2")
	r.stop()
	s.at = r.Position()
	s.marks = Marks{Again: first, Time: time.Unix(1_700_000_000, 5).UTC(), Swept: time.Unix(1_600_000_000, 0).UTC()}
	image, err := r.index.Freeze(s.at)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Save(image, func() Marks { return s.marks }); err != nil {
		t.Fatal(err)
	}
	if s.bytes, err = os.ReadFile(s.Path); err != nil {
		t.Fatal(err)
	}
	return s
}

// known lists the sessions that an index denies.
func known(index *cache.Index) (sids []string) {
	for _, sid := range []string{"s1", "s2", "s3"} {
		if len(index.Refs(cache.KeyOf(cache.Session, "https://idp.example", sid))) > 0 {
			sids = append(sids, sid)
		}
	}
	return sids
}

func TestSnapshotAndTail(t *testing.T) {
	s := saveOne(t)
	if info, err := os.Stat(s.Path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	r := start(t, Config{Log: s.log, Head: s.Head, MaxAge: time.Hour}).synced(t)
	last := r.revoke(t, "s3")
	r.stop()

	left := filepath.Join(filepath.Dir(s.Path), ".index.snapshot123")
	if err := os.WriteFile(left, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	index, begin, err := s.Load(t.Context(), time.Now())
	if diff := cmp.Diff(Start{Position: s.at, Marks: s.marks}, begin); err != nil || diff != "" {
		t.Fatalf("%v\n%s", err, diff)
	}
	if _, err := os.Lstat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what a killed process left: %v", err)
	}
	if got := known(index); !slices.Equal(got, []string{"s1", "s2"}) {
		t.Errorf("the snapshot knows %v", got)
	}
	var again, applied []uint64
	sync := &cache.Sync{}
	f, err := New(Config{
		Log: s.log, Key: testKey, Head: s.Head, MaxAge: time.Hour, Sync: sync, Start: begin,
		Again: func(number uint64, _ time.Time, _ []cache.Event) { again = append(again, number) },
		Apply: func(number uint64, at time.Time, events []cache.Event) {
			applied = append(applied, number)
			index.Apply(number, at, events)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if st := f.Status(); st.Number != s.at.Number || st.Synced || !st.LastTime.Equal(s.marks.Time) || sync.Health(time.Now(), time.Hour) != cache.NotReady {
		t.Errorf("before anything is read: %+v", st)
	}
	runUntil(t, f, func() bool { return f.synced })
	if want := []uint64{s.marks.Again, s.at.Number}; !slices.Equal(again, want) {
		t.Errorf("again: %v, not %v", again, want)
	}
	if applied[0] != s.at.Number+1 || !slices.Contains(applied, last) || !slices.Equal(known(index), []string{"s1", "s2", "s3"}) {
		t.Errorf("applied %v, known %v", applied, known(index))
	}
	if _, _, err := f.Events(t.Context(), s.marks.Again); err != nil {
		t.Errorf("a record from before the snapshot: %v", err)
	}
}

func runUntil(t *testing.T, f *Feed, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ran := make(chan error, 1)
	go func() { ran <- f.Run(ctx) }()
	if err := f.wait(ctx, done); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-ran; err != nil {
		t.Error(err)
	}
}

// TestSnapshotThatDoesNotFit: whatever is wrong with it, it is moved aside, said
// aloud, and the feed begins at its first record.
func TestSnapshotThatDoesNotFit(t *testing.T) {
	write := func(edit func(b []byte) []byte) func(t *testing.T, s *saved) {
		return func(t *testing.T, s *saved) {
			if err := os.WriteFile(s.Path, edit(bytes.Clone(s.bytes)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	instead := func(make func(path string) error) func(t *testing.T, s *saved) {
		return func(t *testing.T, s *saved) {
			if err := errors.Join(os.Remove(s.Path), make(s.Path)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, damage := range map[string]func(t *testing.T, s *saved){
		"zero length":         write(func(b []byte) []byte { return nil }),
		"half of it":          write(func(b []byte) []byte { return b[:len(b)/2] }),
		"a byte short":        write(func(b []byte) []byte { return b[:len(b)-1] }),
		"no trailer":          write(func(b []byte) []byte { return b[:len(b)-trailerSize] }),
		"a byte too many":     write(func(b []byte) []byte { return append(b, 0) }),
		"another version":     write(func(b []byte) []byte { b[7]++; return b }),
		"a flipped bit":       write(func(b []byte) []byte { b[len(b)/2] ^= 4; return b }),
		"a flipped bit of it": write(func(b []byte) []byte { b[len(b)-1] ^= 4; return b }),
		"a mark changed":      write(func(b []byte) []byte { b[len(b)-trailerSize+7]++; return b }),
		"another key":         func(_ *testing.T, s *saved) { s.Key = bytes.Repeat([]byte{1}, KeySize) },
		"the record is gone":  func(_ *testing.T, s *saved) { s.log.Edit(func(e []Entry) []Entry { return e[:s.at.Number-1] }) },
		"another record": func(_ *testing.T, s *saved) {
			other, _ := chain(Epoch(s.at.Epoch), typeGenesis, typeTick, typeTick, typeTick, typeTick)
			s.log.Edit(func(e []Entry) []Entry { e[s.at.Number-1].Record = other[s.at.Number-1]; return e })
		},
		"another cluster": func(t *testing.T, s *saved) {
			other := saveOne(t)
			s.Head, s.Log = other.Head, other.log
		},
		"the head was removed": func(t *testing.T, s *saved) {
			if err := os.Remove(s.Head.path); err != nil {
				t.Fatal(err)
			}
			var err error
			if s.Head, err = OpenHead(filepath.Join(filepath.Dir(s.Path), "other.head")); err != nil {
				t.Fatal(err)
			}
		},
		"swept by a clock far ahead": func(t *testing.T, s *saved) {
			s.marks.Swept = time.Now().Add(time.Minute)
			s.again(t)
		},
		"begins again behind it": func(t *testing.T, s *saved) { s.marks.Again = s.at.Number + 1; s.again(t) },
		"a folder":               instead(func(path string) error { return os.Mkdir(path, 0o700) }),
		"a link":                 instead(func(path string) error { return os.Symlink("feed.head", path) }),
	} {
		t.Run(name, func(t *testing.T) {
			s := saveOne(t)
			damage(t, s)
			index, begin, err := s.Load(t.Context(), time.Now())
			if err == nil || begin != (Start{}) || known(index) != nil {
				t.Errorf("%v %+v %v", err, begin, known(index))
			}
			if s.said.count("moved aside") != 1 || s.said.count("moved=true") != 1 {
				t.Error(s.said.lines)
			}
			_, gone := os.Lstat(s.Path)
			if _, err := os.Lstat(s.Path + ".bad"); err != nil || !errors.Is(gone, fs.ErrNotExist) {
				t.Errorf("%v %v", gone, err)
			}
			if _, _, err := s.Load(t.Context(), time.Now()); err != nil {
				t.Errorf("without a snapshot: %v", err)
			}
		})
	}
}

// again saves the snapshot once more, with other marks.
func (s *saved) again(t *testing.T) {
	index, _, err := s.read()
	if err != nil {
		t.Fatal(err)
	}
	image, err := index.Freeze(s.at)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Save(image, func() Marks { return s.marks }); err != nil {
		t.Fatal(err)
	}
}

// TestSnapshotEveryByte: cut anywhere, any byte changed.
func TestSnapshotEveryByte(t *testing.T) {
	b := saveOne(t).bytes
	step := max(1, len(b)/2000)
	for n := 0; n < len(b); n += step {
		if _, _, err := readImage(testKey, bytes.NewReader(b[:n]), int64(n)); err == nil {
			t.Errorf("cut after %d bytes", n)
		}
		damaged := bytes.Clone(b)
		damaged[n] ^= 1 << (n % 8)
		if _, _, err := readImage(testKey, bytes.NewReader(damaged), int64(len(b))); err == nil {
			t.Errorf("byte %d changed", n)
		}
	}
}

// TestSnapshotBeforeTheBroker: a log that can not be reached is no fault of the
// snapshot; when it then lacks the record, the feed is broken.
func TestSnapshotBeforeTheBroker(t *testing.T) {
	s := saveOne(t)
	s.log.Fail(func(Op, uint64) error { return errors.New("no connection") })
	index, begin, err := s.Load(t.Context(), time.Now())
	if err != nil || begin.Position != s.at || len(known(index)) != 2 || s.said.count("before the feed can be asked") != 1 {
		t.Fatalf("%v %+v %v", err, begin, s.said.lines)
	}
	s.log.Fail(nil)
	s.log.Edit(func(e []Entry) []Entry { return e[:s.at.Number-1] })
	sync := &cache.Sync{}
	f, err := New(Config{
		Log: s.log, Key: testKey, Head: s.Head, MaxAge: time.Hour, Sync: sync, Start: begin,
		Again: func(uint64, time.Time, []cache.Event) {}, Apply: func(uint64, time.Time, []cache.Event) { t.Error("applied") },
	})
	if err != nil {
		t.Fatal(err)
	}
	runUntil(t, f, func() bool { return f.broken != nil })
	if sync.Health(time.Now(), time.Hour) != cache.Stale || !strings.Contains(f.Status().Broken, "ends before") {
		t.Error(f.Status().Broken)
	}
}

// TestSnapshotChain: the records told again are held to the snapshot's own.
func TestSnapshotChain(t *testing.T) {
	s := saveOne(t)
	index, begin, err := s.Load(t.Context(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	other, _ := chain(Epoch(s.at.Epoch), typeGenesis, typeTick, typeTick)
	s.log.Edit(func(e []Entry) []Entry { e[s.marks.Again-1].Record = other[s.marks.Again-1]; return e })
	f, err := New(Config{
		Log: s.log, Key: testKey, Head: s.Head, MaxAge: time.Hour, Sync: &cache.Sync{}, Start: begin,
		Again: func(uint64, time.Time, []cache.Event) {}, Apply: index.Apply,
	})
	if err != nil {
		t.Fatal(err)
	}
	runUntil(t, f, func() bool { return f.broken != nil })
	if f.synced || len(known(index)) != 2 {
		t.Errorf("synced %v, known %v", f.synced, known(index))
	}
}

// TestSaveFails: the snapshot before stays, nothing is left beside it.
func TestSaveFails(t *testing.T) {
	s := saveOne(t)
	index, _, err := s.read()
	if err != nil {
		t.Fatal(err)
	}
	for name, break_ := range map[string]func(c *Snapshot){
		"no directory":       func(c *Snapshot) { c.Path = filepath.Join(filepath.Dir(s.Path), "none", "index.snapshot") },
		"the head is closed": func(c *Snapshot) { c.Head = &Head{path: "gone"} },
	} {
		image, err := index.Freeze(s.at)
		if err != nil {
			t.Fatal(err)
		}
		c := s.Snapshot
		break_(&c)
		if err := c.Save(image, func() Marks { return Marks{} }); err == nil {
			t.Errorf("%s: saved", name)
		}
	}
	full := &careful{directory: filepath.Join(filepath.Dir(s.Path), "none")}
	if _, err := full.Write([]byte{1}); err == nil {
		t.Error("written where no space can be found")
	}
	if b, err := os.ReadFile(s.Path); err != nil || !bytes.Equal(b, s.bytes) {
		t.Errorf("the snapshot before: %v", err)
	}
	files, err := os.ReadDir(filepath.Dir(s.Path))
	if err != nil || len(files) != 2 {
		t.Errorf("%v %v", files, err)
	}
}

// FuzzImage: whatever the bytes say, it is refused or it is a snapshot that was
// made with the key. The second try has the right MAC.
func FuzzImage(f *testing.F) {
	s := saveOne(f)
	f.Add([]byte{})
	f.Add(s.bytes[len(s.bytes)-trailerSize:])
	f.Add(s.bytes)
	image, err := cache.NewIndex().Freeze(s.at)
	if err != nil {
		f.Fatal(err)
	}
	if err := s.Save(image, func() Marks { return s.marks }); err != nil {
		f.Fatal(err)
	}
	empty, err := os.ReadFile(s.Path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(empty)
	f.Fuzz(func(t *testing.T, src []byte) {
		if _, _, err := readImage(testKey, bytes.NewReader(src), int64(len(src))); err == nil && !bytes.Equal(src, sealed(src)) {
			t.Fatal("taken with a MAC that is not its own")
		}
		if len(src) < trailerSize {
			return
		}
		src = sealed(src)
		index, begin, err := readImage(testKey, bytes.NewReader(src), int64(len(src)))
		if err != nil {
			return
		}
		if index == nil || !bytes.Equal(begin.append(nil), src[len(src)-trailerSize:len(src)-macSize]) {
			t.Fatalf("%+v", begin)
		}
	})
}

// sealed gives a snapshot the right MAC.
func sealed(b []byte) []byte {
	b = bytes.Clone(b[:len(b)-macSize])
	mac := hmac.New(sha256.New, derive(testKey, imageLabel))
	mac.Write(b)
	return mac.Sum(b)
}
