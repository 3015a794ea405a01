package cache

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/iotest"
	"time"
)

// smallIndex has something of each sort, in two shards.
func smallIndex() *Index { return indexOf(modelKeys) }

func indexOf(keys []Key) *Index {
	x := newIndex(modelSecret)
	var events []Event
	for i := range 50 {
		events = append(events, Event{Op: OpRevoke, Kinds: modelKind(i % 7), Key: keys[i%7], Before: t0, Until: second(i)})
	}
	events = append(events, someSeveral...)
	x.Apply(3, t0, events)
	e := events[2]
	e.Op, e.Lifts = OpLift, Ref{Number: 3, Place: 2}
	x.Apply(5, t0, []Event{e})
	return x
}

func snapshotOf(t testing.TB, x *Index, at Position) []byte {
	t.Helper()
	image, err := x.Freeze(at)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := image.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// refused holds a reader to all or nothing.
func refused(t testing.TB, what string, src []byte) {
	t.Helper()
	x, at, err := ReadSnapshot(bytes.NewReader(src))
	if !errors.Is(err, ErrSnapshot) || x != nil || at != (Position{}) {
		t.Errorf("%s: %v %v", what, at, err)
	}
}

func TestSnapshotRoundTrip(t *testing.T) {
	at := Position{Epoch: [16]byte{1}, Number: 9, Hash: [32]byte{2}}
	src := snapshotOf(t, smallIndex(), at)
	x, got, err := ReadSnapshot(iotest.OneByteReader(bytes.NewReader(src)))
	if err != nil || got != at || x.Applied() != 5 {
		t.Fatalf("%v %v, applied %d", got, err, x.Applied())
	}
	if l, ok := x.Lifted(Ref{Number: 3, Place: 2}); !ok || l.By != (Ref{Number: 5}) || !l.At.Equal(t0) {
		t.Errorf("lift is %+v", l)
	}
	if want, got := smallIndex().List(1<<numKinds-1, Ref{}, 100), x.List(1<<numKinds-1, Ref{}, 100); len(want) != 54 || len(got) != 54 {
		t.Errorf("%d of %d revocations", len(got), len(want))
	}
	empty, _, err := ReadSnapshot(bytes.NewReader(snapshotOf(t, NewIndex(), Position{})))
	if err != nil || empty.Applied() != 0 || empty.Status(subject(map[Kinds]string{User: "a"}), t0, t0) != (Hit{}) {
		t.Errorf("an empty index: %v", err)
	}
}

// TestSnapshotDamage: cut anywhere, any byte changed, anything added.
func TestSnapshotDamage(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	oneShard := slices.DeleteFunc(slices.Clone(modelKeys), func(k Key) bool { return modelSecret.sum(&k)%tableShards > 0 })
	src := snapshotOf(t, indexOf(oneShard), Position{Number: 5})
	if len(src) > 20_000 {
		t.Fatalf("%d bytes take too long", len(src))
	}
	for n := range src {
		refused(t, "cut off", src[:n])
		damaged := bytes.Clone(src)
		damaged[n] ^= 1 << rnd.IntN(8)
		refused(t, "a flipped bit", damaged)
	}
	refused(t, "a byte too many", append(bytes.Clone(src), 0))
	refused(t, "twice", append(bytes.Clone(src), src...))
	if _, _, err := ReadSnapshot(iotest.TimeoutReader(bytes.NewReader(src))); err == nil {
		t.Error("a read error was passed over")
	}
}

// seal gives every block of a damaged snapshot its right checksum, and the end
// the right sum of all: what is left to refuse is what the blocks say.
func seal(src []byte) []byte {
	src = bytes.Clone(src)
	at := len(snapshotMagic) + 1
	for len(src)-at >= blockHead+4 {
		n := int(binary.BigEndian.Uint32(src[at+1:]))
		if n > len(src)-at-blockHead-4 {
			break
		}
		end := at + blockHead + n
		if blockType(src[at]) == blockOfEnd && n == endSize {
			binary.BigEndian.PutUint32(src[end-4:], crc32.Checksum(src[:at], castagnoli))
		}
		binary.BigEndian.PutUint32(src[end:], crc32.Checksum(src[at:end], castagnoli))
		at = end + 4
	}
	return src
}

// blocks cuts a snapshot: its first bytes, then a block each.
func blocks(src []byte) (parts [][]byte) {
	at := len(snapshotMagic) + 1
	parts = append(parts, src[:at])
	for at < len(src) {
		n := blockHead + int(binary.BigEndian.Uint32(src[at+1:])) + 4
		parts = append(parts, src[at:at+n])
		at += n
	}
	return parts
}

// TestSnapshotLies: what has right checksums and can not be.
func TestSnapshotLies(t *testing.T) {
	src := snapshotOf(t, smallIndex(), Position{Number: 5})
	if _, _, err := ReadSnapshot(bytes.NewReader(seal(src))); err != nil {
		t.Fatal(err)
	}
	parts := blocks(src) // start, head, two shards, entries, several, lifts, end
	if len(parts) != 8 {
		t.Fatalf("%d parts", len(parts))
	}
	join := func(order ...int) (b []byte) {
		for _, i := range order {
			b = append(b, parts[i]...)
		}
		return seal(b)
	}
	for name, order := range map[string][]int{
		"no head": {0, 2, 3, 4, 5, 6, 7}, "two heads": {0, 1, 1, 2, 3, 4, 5, 6, 7}, "no end": {0, 1, 2, 3, 4, 5, 6},
		"two ends": {0, 1, 2, 3, 4, 5, 6, 7, 7}, "a shard is missing": {0, 1, 3, 4, 5, 6, 7}, "a shard twice": {0, 1, 2, 2, 3, 4, 5, 6, 7},
		"shards in another order": {0, 1, 3, 2, 4, 5, 6, 7}, "entries are missing": {0, 1, 2, 3, 5, 6, 7}, "entries before pages": {0, 1, 4, 2, 3, 5, 6, 7},
		"several are missing": {0, 1, 2, 3, 4, 6, 7}, "only the start": {0}, "no blocks but the end": {0, 7},
	} {
		refused(t, name, join(order...))
	}
	// Offsets into a block's payload.
	const head, page = blockHead, blockHead + shardHead
	entry := page // the first entry in the first shard's first page: its print; its refs are 128 further on
	for binary.LittleEndian.Uint64(parts[2][entry+128:]) == 0 {
		if entry += 8; (entry-page)%192 == 64 {
			entry += 128 // the next bucket
		}
	}
	for name, at := range map[string]struct {
		part, at int
		value    byte
	}{
		"another version":               {0, 7, 2},
		"a block of an unknown type":    {7, 0, 9},
		"applied after the position":    {1, head + 16 + 8 + 32 + 6, 1},
		"a shard of more pages":         {2, head + 4, 2},
		"a shard of millions of pages":  {2, head + 1, 1},
		"a shard of 4 billion pages":    {2, head + 1, 0xff},
		"a shard of no pages":           {2, head + 4, 0},
		"an entry in the wrong bucket":  {2, entry + 7, 0x5a},
		"an empty slot with a time":     {2, page + pageSize - 9*8, 1},
		"a record that was not applied": {2, entry + 128 + 3, 77},
		"an entry of an unknown kind":   {4, head + 10, numKinds},
		"an entry with a long tail":     {4, head + 9, 0xff},
		"several of one kind":           {5, head + 1, byte(User)},
		"several of kinds unknown":      {5, head, 0x80},
		"a lift of nothing":             {6, head + 7, 0},
		"a lift from the future":        {6, head + 12 + 6, 1},
		"an end that counts more":       {7, head + 7, 250},
	} {
		parts := blocks(bytes.Clone(src))
		if parts[at.part][at.at] == at.value {
			t.Errorf("%s: changes nothing", name)
		}
		parts[at.part][at.at] = at.value
		refused(t, name, seal(bytes.Join(parts, nil)))
	}
	for _, length := range []uint32{0, 1, uint32(maxBlock), uint32(maxBlock) + 1, 1 << 31, 1<<32 - 1} {
		for i := 1; i < 8; i++ {
			parts := blocks(bytes.Clone(src))
			binary.BigEndian.PutUint32(parts[i][1:], length)
			refused(t, "another length", seal(bytes.Join(parts, nil)))
		}
	}
}

// TestSnapshotWriteFails: an error of the writer comes out, and the index can
// be written again.
func TestSnapshotWriteFails(t *testing.T) {
	x := smallIndex()
	whole := len(snapshotOf(t, x, Position{Number: 5}))
	for _, room := range []int{0, 1, 100, 20_000, whole - 1} {
		image, err := x.Freeze(Position{Number: 5})
		if err != nil {
			t.Fatal(err)
		}
		if err := image.Write(&fullDisk{room}); !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("room for %d of %d: %v", room, whole, err)
		}
	}
}

type fullDisk struct{ room int }

func (d *fullDisk) Write(p []byte) (int, error) {
	if d.room -= len(p); d.room < 0 {
		return 0, io.ErrShortWrite
	}
	return len(p), nil
}

// FuzzSnapshot: whatever the bytes say, it is refused or it is an index that is
// written and read again as the same. The second try has right checksums.
func FuzzSnapshot(f *testing.F) {
	f.Add([]byte{})
	f.Add(snapshotOf(f, newIndex(modelSecret), Position{}))
	f.Add(snapshotOf(f, smallIndex(), Position{Number: 7}))
	f.Fuzz(func(t *testing.T, src []byte) {
		for _, src := range [][]byte{src, seal(src)} {
			x, at, err := ReadSnapshot(bytes.NewReader(src))
			if err != nil {
				continue
			}
			y, again, err := ReadSnapshot(bytes.NewReader(snapshotOf(t, x, at)))
			if err != nil || again != at || y.Applied() != x.Applied() {
				t.Fatalf("%v at %v: %v", again, at, err)
			}
			for _, kind := range AllKinds() {
				if x.Count(kind) != y.Count(kind) {
					t.Errorf("%d and then %d of %v", x.Count(kind), y.Count(kind), kind)
				}
			}
			x.Expire(t0.Add(time.Hour))
		}
	})
}
