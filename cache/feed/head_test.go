package feed

import (
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func place(number uint64) position {
	return position{epoch: Epoch{9}, number: number, hash: sha256.Sum256([]byte{byte(number)})}
}

func TestHeadKeepsTheHighest(t *testing.T) {
	dir := t.TempDir()
	h := openHead(t, dir)
	if p, err := h.position(); err != nil || p != (position{}) {
		t.Fatalf("new head: %v %v", p, err)
	}
	for _, step := range []struct {
		number uint64
		sync   bool
		want   uint64
	}{{3, true, 3}, {5, false, 5}, {4, true, 5}, {4, false, 5}, {6, false, 6}, {6, true, 6}, {7, true, 7}} {
		if err := h.store(place(step.number), step.sync); err != nil {
			t.Fatal(err)
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		h = openHead(t, dir)
		if p, err := h.position(); err != nil || p != place(step.want) {
			t.Fatalf("after %+v: %v %v", step, p, err)
		}
	}
}

// A write that was cut off spoils one slot; the synced one is never at risk.
func TestHeadTornWrite(t *testing.T) {
	dir := t.TempDir()
	h := openHead(t, dir)
	if err := h.store(place(3), true); err != nil {
		t.Fatal(err)
	}
	keep := h.keep
	for n := uint64(4); n < 9; n++ {
		if err := h.store(place(n), false); err != nil {
			t.Fatal(err)
		}
	}
	scribble(t, h.path, int64(1-keep)*slotSize+20)
	if p, err := openHead(t, dir).position(); err != nil || p != place(3) {
		t.Fatalf("%v %v", p, err)
	}
}

func scribble(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x10
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// A damaged head says nothing of what was seen: nothing is fresh, nothing is
// appended, and the error names the file and what to do.
func TestHeadDamaged(t *testing.T) {
	damage := map[string]func(t *testing.T, path string){
		"both slots": func(t *testing.T, path string) {
			scribble(t, path, 20)
			scribble(t, path, slotSize+30)
		},
		"empty":     func(t *testing.T, path string) { truncate(t, path, 0) },
		"cut short": func(t *testing.T, path string) { truncate(t, path, headSize-1) },
		"too long":  func(t *testing.T, path string) { truncate(t, path, headSize+1) },
		"two feeds": func(t *testing.T, path string) {
			b := make([]byte, headSize)
			encodeSlot(b, place(3))
			encodeSlot(b[slotSize:], position{epoch: Epoch{1}, number: 4})
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, spoil := range damage {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			h := openHead(t, dir)
			if err := h.store(place(3), true); err != nil {
				t.Fatal(err)
			}
			spoil(t, h.path)
			r := start(t, Config{Log: &Memory{}, Head: openHead(t, dir)})
			why := r.broken(t)
			if !strings.Contains(why, filepath.Join(dir, "head")) || !strings.Contains(why, "remove the file") {
				t.Errorf("no help in %q", why)
			}
			if _, _, err := r.Append(t.Context(), revoke("s")); !errors.Is(err, ErrNotDurable) || !errors.Is(err, ErrHead) {
				t.Errorf("append: %v", err)
			}
			if got := r.Status(); got.Number != 0 || got.Synced {
				t.Errorf("%+v", got)
			}
			if err := os.Remove(h.path); err != nil {
				t.Fatal(err)
			}
			start(t, Config{Log: &Memory{}, Head: openHead(t, dir)}).synced(t)
		})
	}
}

func truncate(t *testing.T, path string, size int64) {
	t.Helper()
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
}

// The operator removed the head file: the log is accepted, and that is said.
func TestHeadMissing(t *testing.T) {
	log, dir := &Memory{}, t.TempDir()
	first := start(t, Config{Log: log, Head: openHead(t, dir)}).synced(t)
	first.revoke(t, "s")
	first.stop()
	if err := os.Remove(filepath.Join(dir, "head")); err != nil {
		t.Fatal(err)
	}
	h := openHead(t, dir)
	again := start(t, Config{Log: log, Head: h}).synced(t)
	if again.said.count("there was no head file") != 1 || !again.has("s") {
		t.Errorf("not said once: %s", again.state())
	}
	again.stop()
	if p, err := h.position(); err != nil || p.number < 4 {
		t.Errorf("head is %v, %v", p, err)
	}
	if first.said.count("there was no head file") != 0 {
		t.Error("said of an empty log")
	}
}

// No event is acknowledged that the head does not name.
func TestHeadFails(t *testing.T) {
	h := openHead(t, t.TempDir())
	r := start(t, Config{Log: &Memory{}, Head: h}).synced(t)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Append(t.Context(), revoke("s")); !errors.Is(err, ErrNotDurable) {
		t.Errorf("append: %v", err)
	}
	r.await(t, "applied nevertheless", func(Status) bool { return r.has("s") })
	if err := r.Confirm(t.Context()); !errors.Is(err, ErrNotDurable) {
		t.Errorf("confirmed, though no head names it: %v", err)
	}
}
