package cache

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"
)

// ErrSnapshot is what is wrong with a snapshot that can not be used, whatever
// it is: the caller moves it aside and reads the log from its beginning.
var ErrSnapshot = errors.New("the index snapshot is damaged or of another version")

// ReadSnapshot makes an index of what Image.Write wrote, and gives the feed's
// position of that image. It takes all or nothing, and no more memory than a
// few times what it reads.
func ReadSnapshot(r io.Reader) (*Index, Position, error) {
	l := &loader{r: bufio.NewReaderSize(r, 64<<10), block: make([]byte, 0, blockHead+maxBlock+4)}
	if err := l.load(); err != nil {
		return nil, Position{}, err
	}
	return l.x, l.at, nil
}

type loader struct {
	r        *bufio.Reader
	block    []byte
	all      uint32 // CRC-32C of all blocks before this one
	x        *Index
	at       Position
	applied  uint64
	entries  uint64
	building building
}

// building is the shard whose pages are being read.
type building struct {
	shard int // from 1; 0 before the first
	total int
	pages []*page
}

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrSnapshot}, args...)...)
}

func (l *loader) load() error {
	var start [len(snapshotMagic) + 1]byte
	if _, err := io.ReadFull(l.r, start[:]); err != nil {
		return bad("read its first bytes: %w", err)
	}
	if string(start[:len(snapshotMagic)]) != snapshotMagic || start[len(snapshotMagic)] != snapshotVersion {
		return bad("it begins with %q, not with %s and version %d", start, snapshotMagic, snapshotVersion)
	}
	l.all = crc32.Checksum(start[:], castagnoli)
	for last := blockType(0); last != blockOfEnd; {
		before := l.all
		kind, payload, err := l.next()
		if err != nil {
			return err
		}
		if kind < last || last == 0 && kind != blockOfHead || last == blockOfHead && kind == blockOfHead {
			return bad("block of type %d after one of type %d", kind, last)
		}
		if kind != blockOfPages {
			if err := l.finish(); err != nil {
				return err
			}
		}
		if err := l.take(kind, payload, before); err != nil {
			return err
		}
		last = kind
	}
	if _, err := l.r.ReadByte(); !errors.Is(err, io.EOF) {
		return bad("something follows its end: %v", err)
	}
	return nil
}

// next reads a block and checks its sum.
func (l *loader) next() (blockType, []byte, error) {
	b := l.block[:blockHead]
	if _, err := io.ReadFull(l.r, b); err != nil {
		return 0, nil, bad("read the head of a block: %w", err)
	}
	length := int(binary.BigEndian.Uint32(b[1:]))
	if length > maxBlock {
		return 0, nil, bad("block of %d bytes", length)
	}
	b = b[:blockHead+length+4]
	if _, err := io.ReadFull(l.r, b[blockHead:]); err != nil {
		return 0, nil, bad("read a block: %w", err)
	}
	covered := b[:blockHead+length]
	if crc32.Checksum(covered, castagnoli) != binary.BigEndian.Uint32(b[len(covered):]) {
		return 0, nil, bad("a block's checksum does not fit")
	}
	l.all = crc32.Update(l.all, castagnoli, b)
	return blockType(b[0]), covered[blockHead:], nil
}

func (l *loader) take(kind blockType, p []byte, before uint32) error {
	switch kind {
	case blockOfHead:
		return l.takeHead(p)
	case blockOfPages:
		return l.takePages(p)
	case blockOfEntries:
		return rowsOfBlock(p, entrySize, l.takeEntry)
	case blockOfSeveral:
		return l.takeSeveral(p)
	case blockOfLifts:
		return rowsOfBlock(p, liftSize, l.takeLift)
	case blockOfEnd:
		if len(p) != endSize || binary.BigEndian.Uint64(p) != l.entries || binary.BigEndian.Uint32(p[8:]) != before {
			return bad("its end does not fit what came before")
		}
		l.x.applied.Store(l.applied)
		return nil
	}
	return bad("block of type %d", kind)
}

func (l *loader) takeHead(p []byte) error {
	if len(p) != headSize {
		return bad("head of %d bytes", len(p))
	}
	f := fields{p}
	f.copy(l.at.Epoch[:])
	l.at.Number = f.uint64()
	f.copy(l.at.Hash[:])
	l.applied = f.uint64()
	if l.applied > l.at.Number {
		return bad("it stands at record %d, with %d applied", l.at.Number, l.applied)
	}
	l.x = newIndex(sipKey{f.uint64(), f.uint64()})
	return nil
}

func (l *loader) takePages(p []byte) error {
	if len(p) <= shardHead || (len(p)-shardHead)%pageSize != 0 {
		return bad("block of pages of %d bytes", len(p))
	}
	f := fields{p}
	shard, total := int(f.uint8())+1, int(f.uint32())
	w := &l.building
	if shard != w.shard {
		if err := l.finish(); err != nil {
			return err
		}
		if shard < w.shard {
			return bad("shard %d after shard %d", shard, w.shard)
		}
		*w = building{shard: shard, total: total}
	}
	if total != w.total || total > 1<<25 {
		return bad("shard of %d pages, and then of %d", w.total, total)
	}
	for len(f.rest) > 0 {
		if len(w.pages) >= w.total {
			return bad("shard with more pages than it has")
		}
		pg := l.x.pages.take(1)[0]
		f.page(pg)
		w.pages = append(w.pages, pg)
	}
	return nil
}

// finish puts the shard in place that was read, when each entry stands where a
// lookup will search it.
func (l *loader) finish() error {
	w := &l.building
	if len(w.pages) != w.total {
		return bad("shard of %d pages has %d", w.total, len(w.pages))
	}
	if w.total == 0 {
		return nil
	}
	t := &table{from: l.x.pages, pages: w.pages, buckets: uint32(w.total) * pageBuckets}
	s := &l.x.shard[w.shard-1]
	var count [1 << kindBits]int64
	for i := range t.buckets {
		b := t.bucket(i)
		for slot := range bucketSlots {
			if b.refs[slot] == 0 {
				if b.print[slot]|b.times[slot] != 0 {
					return bad("an empty slot holds something")
				}
				continue
			}
			e := b.entry(slot)
			if one, two := t.places(b.print[slot]); i != one && i != two || !l.plausible(&e) {
				return bad("an entry that can not be")
			}
			count[e.kind]++
			s.note(e.until)
		}
	}
	for kind, n := range count[:numKinds] {
		l.x.count[kind].Add(n)
		l.entries += uint64(n)
	}
	s.table.Store(t)
	*w = building{shard: w.shard}
	return nil
}

func (l *loader) plausible(e *entry) bool {
	return e.kind < numKinds && e.ref.Number > 0 && e.ref.Number <= l.applied
}

func rowsOfBlock(p []byte, size int, take func(*fields) error) error {
	if len(p) == 0 || len(p)%size != 0 {
		return bad("block of %d bytes for rows of %d", len(p), size)
	}
	for f := (fields{p}); len(f.rest) > 0; {
		if err := take(&f); err != nil {
			return err
		}
	}
	return nil
}

func (l *loader) takeEntry(f *fields) error {
	shard := f.uint8()
	g := tag{print: f.uint64(), tail: f.uint8()}
	e := entry{kind: f.uint8()}
	f.times(&e)
	if g.tail > tailMask || !l.plausible(&e) {
		return bad("an entry that can not be")
	}
	l.x.shard[shard].insert(l.x.pages, g, e)
	l.count(&e)
	return nil
}

func (l *loader) count(e *entry) {
	l.x.count[e.kind].Add(1)
	l.entries++
}

func (l *loader) takeSeveral(p []byte) error {
	for f := (fields{p}); len(f.rest) > 0; {
		if len(f.rest) < severalSize {
			return bad("block of %d bytes for rows of several members", len(p))
		}
		r := &row{kinds: Kinds(f.uint16())}
		f.copy(r.key[:])
		f.copy(r.issuer[:])
		f.times(&r.entry)
		r.kind = uint8(r.kinds.slot())
		n := r.kinds.len()
		if n < 2 || n > MaxMembers || r.kinds >= 1<<numKinds || !l.plausible(&r.entry) || len(f.rest) < n*len(Key{}) {
			return bad("a revocation of several members that can not be")
		}
		for rest := r.kinds; rest != 0; rest &= rest - 1 {
			f.copy(r.member[rest.slot()][:])
		}
		l.x.several.insert(r)
		l.count(&r.entry)
	}
	if len(p) == 0 {
		return bad("block without rows")
	}
	return nil
}

func (l *loader) takeLift(f *fields) error {
	ref := f.ref()
	lift := Lift{By: f.ref(), At: time.Unix(0, int64(f.uint64())).UTC(), until: f.uint32()}
	if ref.Number == 0 || ref.Compare(lift.By) >= 0 || lift.By.Number > l.applied {
		return bad("a lift that can not be")
	}
	l.x.lifts.add(ref, lift)
	return nil
}

// fields reads fields of a payload whose length was checked.
type fields struct{ rest []byte }

func (f *fields) take(n int) []byte {
	field := f.rest[:n]
	f.rest = f.rest[n:]
	return field
}

func (f *fields) copy(dst []byte) { copy(dst, f.take(len(dst))) }
func (f *fields) uint8() uint8    { return f.take(1)[0] }
func (f *fields) uint16() uint16  { return binary.BigEndian.Uint16(f.take(2)) }
func (f *fields) uint32() uint32  { return binary.BigEndian.Uint32(f.take(4)) }
func (f *fields) uint64() uint64  { return binary.BigEndian.Uint64(f.take(8)) }
func (f *fields) ref() Ref        { return Ref{Number: f.uint64(), Place: f.uint32()} }
func (f *fields) times(e *entry)  { e.ref, e.before, e.until = f.ref(), f.uint32(), f.uint32() }

func (f *fields) page(p *page) {
	words := f.take(pageSize)
	for i := range p {
		for _, part := range [3]*[bucketSlots]uint64{&p[i].print, &p[i].times, &p[i].refs} {
			for j := range part {
				part[j] = binary.LittleEndian.Uint64(words)
				words = words[8:]
			}
		}
	}
}
