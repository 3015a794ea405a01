package feed

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/cache"
)

// filled makes a log with a few revocations, and the head that saw them.
func filled(t *testing.T) (*Memory, *Head) {
	t.Helper()
	log, head := &Memory{}, openHead(t, t.TempDir())
	r := start(t, Config{Log: log, Head: head, MaxAge: time.Hour}).synced(t)
	for _, sid := range []string{"s1", "s2", "s3", "s4"} {
		r.revoke(t, sid)
	}
	r.stop()
	return log, head
}

// reopen reads a head file as the next process would.
func reopen(t *testing.T, h *Head) *Head {
	t.Helper()
	again, err := OpenHead(h.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = again.Close() })
	return again
}

// renumber gives entries the numbers that a log without gaps gives.
func renumber(entries []Entry) []Entry {
	entries = slices.Clone(entries)
	for i := range entries {
		entries[i].Number = uint64(i + 1)
	}
	return entries
}

// Genesis is record 1, the tick 2, then s1 to s4.
var tampering = []struct {
	name string
	edit func(e []Entry) []Entry
	want error
}{
	{"a record deleted", func(e []Entry) []Entry { return slices.Delete(slices.Clone(e), 3, 4) }, ErrGap},
	{"a record deleted and the rest moved up", func(e []Entry) []Entry { return renumber(slices.Delete(slices.Clone(e), 3, 4)) }, ErrRolled},
	{"a record deleted, the rest moved up and one replayed at the end", func(e []Entry) []Entry {
		return renumber(append(slices.Delete(slices.Clone(e), 3, 4), e[5]))
	}, ErrChain},
	{"the first record deleted", func(e []Entry) []Entry { return slices.Clone(e[1:]) }, ErrGap},
	{"the last record deleted", func(e []Entry) []Entry { return e[:5] }, ErrRolled},
	{"everything deleted", func([]Entry) []Entry { return nil }, ErrRolled},
	{"a bit flipped", func(e []Entry) []Entry {
		e = slices.Clone(e)
		e[3].Record = bytes.Clone(e[3].Record)
		e[3].Record[payloadAt+9] ^= 4
		return e
	}, ErrMAC},
	{"a record cut short", func(e []Entry) []Entry {
		e = slices.Clone(e)
		e[3].Record = e[3].Record[:50]
		return e
	}, ErrForm},
	{"two records in each other's place", func(e []Entry) []Entry {
		e = slices.Clone(e)
		e[3].Record, e[4].Record = e[4].Record, e[3].Record
		return e
	}, ErrChain},
	{"an old record in a later one's place", func(e []Entry) []Entry {
		e = slices.Clone(e)
		e[5].Record = e[2].Record
		return e
	}, ErrHistory},
	{"a record inserted", func(e []Entry) []Entry { return renumber(slices.Insert(slices.Clone(e), 4, e[3])) }, ErrHistory},
	{"a record inserted at the end", func(e []Entry) []Entry { return renumber(append(slices.Clone(e), e[3])) }, ErrChain},
	{"a record of another feed in its place", func(e []Entry) []Entry {
		other, _ := chain(Epoch{1}, typeGenesis, typeTick, typeEvents, typeEvents)
		e = slices.Clone(e)
		e[3].Record = other[3]
		return e
	}, ErrEpoch},
	{"another feed with the same key", func([]Entry) []Entry {
		other, _ := chain(Epoch{1}, typeGenesis, typeTick, typeEvents, typeEvents, typeEvents, typeEvents, typeTick)
		var e []Entry
		for _, b := range other {
			e = append(e, Entry{Record: b})
		}
		return renumber(e)
	}, ErrEpoch},
	{"a fork: the end written anew with the key", func(e []Entry) []Entry {
		e = slices.Clone(e)
		r, err := open(testKey, position{epoch: Epoch(e[0].Record[epochAt:numberAt]), number: 4}, 5, e[4].Record)
		if !errors.Is(err, ErrChain) {
			panic(err)
		}
		before, err := parse(testKey, 4, e[3].Record)
		if err != nil {
			panic(err)
		}
		b, at := seal(testKey, before.position, typeTick, r.at, nil)
		c, _ := seal(testKey, at, typeTick, r.at, nil)
		e[4].Record, e[5].Record = b, c
		return e
	}, ErrHistory},
	{"a record of a newer version", func(e []Entry) []Entry {
		e = slices.Clone(e)
		e[3].Record = bytes.Clone(e[3].Record)
		e[3].Record[0] = 2
		return e
	}, ErrVersion},
	{"a record of a newer type, well made", func(e []Entry) []Entry {
		e = slices.Clone(e)
		e[3].Record = bytes.Clone(e[3].Record)
		e[3].Record[1] = 9
		e[3].Record = remac(e[3].Record)
		return e
	}, ErrType},
	{"events that can not be read, well made", func(e []Entry) []Entry {
		e = slices.Clone(e)
		e[3].Record = bytes.Clone(e[3].Record)
		e[3].Record[payloadAt] = 9 // of a newer version
		e[3].Record = remac(e[3].Record)
		return e
	}, ErrForm},
}

// Whatever was done to the log while nobody looked, the next process says so,
// is never fresh, takes no revocation, and is whole again when the log is.
func TestTamperedWhileDown(t *testing.T) {
	for _, tt := range tampering {
		t.Run(tt.name, func(t *testing.T) {
			log, head := filled(t)
			good := log.Entries()
			log.Edit(tt.edit)
			r := start(t, Config{Log: log, Head: reopen(t, head)})
			why := r.broken(t)
			if !strings.Contains(why, tt.want.Error()) {
				t.Errorf("broken: %s; want %v", why, tt.want)
			}
			_, _, err := r.Append(t.Context(), revoke("s9"))
			if !errors.Is(err, ErrNotDurable) || !errors.Is(err, tt.want) {
				t.Errorf("append: %v", err)
			}
			if r.Status().Synced || r.Status().Breaks == 0 || r.said.count("feed is broken") == 0 {
				t.Errorf("%s", r.state())
			}
			log.Edit(func([]Entry) []Entry { return good })
			r.synced(t)
			for _, sid := range []string{"s1", "s2", "s3", "s4"} {
				if !r.has(sid) {
					t.Errorf("%s is lost", sid)
				}
			}
			r.revoke(t, "s9")
			if h := r.sync.Health(time.Now(), time.Hour); h != cache.Fresh || r.said.count("feed is whole again") != 1 {
				t.Errorf("%v %s", h, r.state())
			}
		})
	}
}

// The same while the feed runs: it is noticed by the audit, at the latest, and
// what was applied stays applied.
func TestTamperedWhileUp(t *testing.T) {
	for _, tt := range tampering {
		t.Run(tt.name, func(t *testing.T) {
			log, head := filled(t)
			r := start(t, Config{Log: log, Head: reopen(t, head), MaxAge: 200 * time.Millisecond}).synced(t)
			var good []Entry
			log.Edit(func(e []Entry) []Entry { good = slices.Clone(e); return tt.edit(e) })
			r.broken(t)
			if _, _, err := r.Append(t.Context(), revoke("s9")); !errors.Is(err, ErrNotDurable) {
				t.Errorf("append: %v", err)
			}
			for _, sid := range []string{"s1", "s2", "s3", "s4"} {
				if !r.has(sid) {
					t.Errorf("%s is lost", sid)
				}
			}
			log.Edit(func(e []Entry) []Entry { return mended(good, e) })
			r.synced(t)
			r.revoke(t, "s9")
		})
	}
}

// mended is a good log with what was appended behind its end since.
func mended(good, now []Entry) []Entry {
	for _, e := range now {
		last := good[len(good)-1]
		before, err := parse(testKey, last.Number, last.Record)
		if err != nil {
			panic(err)
		}
		if _, err := open(testKey, before.position, e.Number, e.Record); err == nil {
			good = append(good, e)
		}
	}
	return good
}

// A record that does not fit arrives behind everything that was read.
func TestTamperedTail(t *testing.T) {
	other, _ := chain(Epoch{1}, typeGenesis, typeEvents)
	for _, tt := range []struct {
		name   string
		record func(good [][]byte) []byte
		want   error
	}{
		{"noise", func([][]byte) []byte { return []byte("revoke everybody") }, ErrVersion},
		{"empty", func([][]byte) []byte { return nil }, ErrForm},
		{"one of before", func(good [][]byte) []byte { return good[2] }, ErrChain},
		{"the last one again", func(good [][]byte) []byte { return good[len(good)-1] }, ErrChain},
		{"of another feed", func([][]byte) []byte { return other[1] }, ErrEpoch},
		{"without the key", func(good [][]byte) []byte {
			last, _ := parse(testKey, 0, good[len(good)-1])
			b, _ := seal(bytes.Repeat([]byte{1}, KeySize), last.position, typeTick, when, nil)
			return b
		}, ErrMAC},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log, _ := filled(t)
			r := start(t, Config{Log: log, MaxAge: time.Hour}).synced(t)
			var good []Entry
			log.Edit(func(e []Entry) []Entry {
				good = slices.Clone(e)
				var records [][]byte
				for _, e := range e {
					records = append(records, e.Record)
				}
				return append(e, Entry{Number: e[len(e)-1].Number + 1, Record: tt.record(records)})
			})
			if why := r.broken(t); !strings.Contains(why, tt.want.Error()) {
				t.Errorf("broken: %s; want %v", why, tt.want)
			}
			log.Edit(func([]Entry) []Entry { return good })
			r.synced(t)
			r.revoke(t, "s9")
		})
	}
}

// A wrong key refuses the very first record, and says what it may be.
func TestWrongKey(t *testing.T) {
	log, head := filled(t)
	for where, h := range map[string]*Head{"record 1": nil, "record 6": reopen(t, head)} {
		r := start(t, Config{Log: log, Head: h, Key: bytes.Repeat([]byte{1}, KeySize)})
		if why := r.broken(t); !strings.Contains(why, ErrMAC.Error()) || !strings.Contains(why, where) {
			t.Error(why)
		}
		if len(r.numbers) != 0 {
			t.Errorf("applied %v", r.numbers)
		}
	}
}

// A head that lies below the end of the log is no break: this machine was down.
func TestHeadBelowTheEnd(t *testing.T) {
	log, head := filled(t)
	other := start(t, Config{Log: log, MaxAge: time.Hour}).synced(t)
	other.revoke(t, "s5")
	other.stop()
	if r := start(t, Config{Log: log, Head: reopen(t, head)}).synced(t); !r.has("s5") {
		t.Error(r.state())
	}
}
