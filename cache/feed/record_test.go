package feed

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-authz/holdfast/cache"
)

// when is a fixed time of the appender.
var when = time.Unix(1_764_000_000, 123_456_789).UTC()

// chain makes a valid chain of records of the given kinds.
func chain(epoch Epoch, kinds ...recordType) (records [][]byte, at position) {
	at.epoch = epoch
	for i, kind := range kinds {
		var payload []byte
		if kind == typeEvents {
			payload = cache.EncodeEvents(nil, []cache.Event{revoke(string(rune('a' + i)))})
		}
		var b []byte
		b, at = seal(testKey, at, kind, when, payload)
		records = append(records, b)
	}
	return records, at
}

// remac gives altered bytes the MAC they need, as whoever has the key could.
func remac(b []byte) []byte {
	covered := b[:len(b)-macSize]
	return appendMAC(append([]byte(nil), covered...), testKey, covered)
}

func TestRecordOpens(t *testing.T) {
	records, _ := chain(Epoch{7}, typeGenesis, typeEvents, typeTick)
	var at position
	for i, b := range records {
		r, err := open(testKey, at, uint64(i+1), b)
		if err != nil {
			t.Fatal(err)
		}
		if r.hash != sha256.Sum256(b) || r.number != uint64(i+1) || r.epoch != (Epoch{7}) || !r.at.Equal(when) {
			t.Errorf("record %d opened as %+v", i+1, r)
		}
		at = r.position
		if i == 1 {
			events, err := cache.DecodeEvents(r.payload)
			if diff := cmp.Diff([]cache.Event{revoke("b")}, events); err != nil || diff != "" {
				t.Errorf("%v\n%s", err, diff)
			}
		}
	}
}

// A record is laid out as record.go says: this one was written by hand.
func TestRecordLayout(t *testing.T) {
	after := position{epoch: Epoch{1, 2}, number: 41, hash: sha256.Sum256([]byte("before"))}
	b, at := seal(testKey, after, typeTick, time.Unix(0, 0x0102), nil)
	want := []byte{1, 3}
	want = append(want, after.epoch[:]...)
	want = append(want, 0, 0, 0, 0, 0, 0, 0, 42)
	want = append(want, after.hash[:]...)
	want = append(want, 0, 0, 0, 0, 0, 0, 1, 2)
	want = appendMAC(want, testKey, want)
	if !bytes.Equal(b, want) || at != (position{after.epoch, 42, sha256.Sum256(want)}) {
		t.Errorf("sealed\n%x\nwant\n%x", b, want)
	}
}

func TestRecordRefused(t *testing.T) {
	records, _ := chain(Epoch{7}, typeGenesis, typeEvents, typeTick)
	genesis, events, tick := records[0], records[1], records[2]
	first := position{epoch: Epoch{7}, number: 1, hash: sha256.Sum256(genesis)}
	second := position{epoch: Epoch{7}, number: 2, hash: sha256.Sum256(events)}
	foreign, _ := chain(Epoch{8}, typeGenesis, typeEvents, typeTick)

	edit := func(b []byte, f func(b []byte)) []byte {
		b = bytes.Clone(b)
		f(b)
		return b
	}
	set := func(b []byte, at int, v byte) []byte { return edit(b, func(b []byte) { b[at] = v }) }

	for _, tt := range []struct {
		name   string
		after  position
		number uint64
		b      []byte
		want   error
	}{
		{"empty", first, 2, nil, ErrForm},
		{"one byte", first, 2, []byte{recordVersion}, ErrForm},
		{"cut short", first, 2, events[:len(events)-1], ErrMAC},
		{"cut to the header", first, 2, events[:payloadAt], ErrForm},
		{"trailing byte", first, 2, append(bytes.Clone(events), 0), ErrMAC},
		{"trailing byte in a tick, with its MAC", second, 3, remac(append(bytes.Clone(tick), 0)), ErrForm},
		{"payload in genesis, with its MAC", position{}, 1, remac(append(bytes.Clone(genesis), 0)), ErrForm},
		{"too long", first, 2, make([]byte, MaxRecord+1), ErrVersion},
		{"too long, version right", first, 2, edit(make([]byte, MaxRecord+1), func(b []byte) { b[0] = recordVersion }), ErrForm},
		{"version 0", first, 2, set(events, 0, 0), ErrVersion},
		{"version 2", first, 2, remac(set(events, 0, 2)), ErrVersion},
		{"type 0, with its MAC", first, 2, remac(set(events, 1, 0)), ErrType},
		{"type 4, with its MAC", first, 2, remac(set(events, 1, 4)), ErrType},
		{"type changed", first, 2, set(events, 1, byte(typeTick)), ErrMAC},
		{"bit in the epoch", first, 2, set(events, epochAt, 8), ErrMAC},
		{"bit in the number", first, 2, set(events, numberAt+7, 3), ErrMAC},
		{"bit in the hash", first, 2, set(events, previousAt, ^events[previousAt]), ErrMAC},
		{"bit in the time", first, 2, set(events, timeAt+7, ^events[timeAt+7]), ErrMAC},
		{"bit in the payload", first, 2, set(events, payloadAt+3, ^events[payloadAt+3]), ErrMAC},
		{"bit in the MAC", first, 2, set(events, len(events)-1, ^events[len(events)-1]), ErrMAC},
		{"foreign epoch", first, 2, foreign[1], ErrEpoch},
		{"own number wrong, with its MAC", first, 2, remac(edit(events, func(b []byte) { binary.BigEndian.PutUint64(b[numberAt:], 9) })), ErrChain},
		{"previous hash wrong, with its MAC", first, 2, remac(set(events, previousAt, ^events[previousAt])), ErrChain},
		{"skipped", first, 3, tick, ErrGap},
		{"again", second, 2, events, ErrGap},
		{"older one at a new number", second, 3, events, ErrChain},
		{"second genesis", second, 3, genesis, ErrType},
		{"genesis of another feed", second, 3, foreign[0], ErrEpoch},
		{"no genesis", position{}, 1, events, ErrType},
		{"genesis that follows something, with its MAC", position{}, 1, remac(set(genesis, previousAt, 1)), ErrChain},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := open(testKey, tt.after, tt.number, tt.b)
			var broken *Break
			if !errors.Is(err, tt.want) || !errors.As(err, &broken) || broken.Number != tt.number {
				t.Errorf("open: %v, want a break at %d: %v", err, tt.number, tt.want)
			}
			if r.number != 0 || r.payload != nil {
				t.Errorf("a refused record was given: %+v", r)
			}
		})
	}
	if _, err := open(bytes.Repeat([]byte{1}, KeySize), first, 2, events); !errors.Is(err, ErrMAC) {
		t.Errorf("under another key: %v", err)
	}
}

// FuzzRecord: whatever opens is what seal would have written. The MAC is
// repaired first, or nothing behind it would be reached.
func FuzzRecord(f *testing.F) {
	records, _ := chain(Epoch{7}, typeGenesis, typeEvents, typeTick)
	first := position{epoch: Epoch{7}, number: 1, hash: sha256.Sum256(records[0])}
	for _, b := range records {
		f.Add(b, true)
		f.Add(b, false)
	}
	f.Fuzz(func(t *testing.T, b []byte, repair bool) {
		if repair && len(b) >= macSize {
			b = remac(b)
		}
		for _, after := range []position{{}, first} {
			r, err := open(testKey, after, after.number+1, b)
			var broken *Break
			if err != nil {
				if !errors.As(err, &broken) || broken.Error() == "" {
					t.Fatalf("not a break: %v", err)
				}
				continue
			}
			after.epoch = r.epoch
			again, at := seal(testKey, after, r.kind, r.at, r.payload)
			if !bytes.Equal(again, b) || at != r.position {
				t.Fatalf("opened %x, sealed again %x", b, again)
			}
		}
	})
}
