package cache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync/atomic"
)

// A snapshot is blocks behind eight bytes; numbers are big-endian, but for the
// words of pages:
//
//	magic     7  "hfindex"
//	version   1
//	blocks       each: type 1, length 4, payload, CRC-32C 4 of all three
//
// in this order:
//
//	head      1  epoch 16, number 8, hash 32: the feed's position; applied 8; key of the hash 16
//	pages     *  shard 1, pages of the shard 4, then up to sixteen of them,
//	             each 64 buckets of 24 words, little-endian
//	entries   *  rows of 31 bytes: shard 1, print 8, tail 1, kind 1, number 8, place 4, before 4, until 4
//	several   *  rows: kinds 2, key 16, issuer 16, number 8, place 4, before 4, until 4, a key 16 for each kind
//	lifts     *  rows of 36 bytes: number 8, place 4, by number 8, place 4, at 8 (Unix nanoseconds), until 4
//	end       1  how many entries there were 8, CRC-32C of everything before this block 4
//
// Nothing follows the end. A reader refuses whatever deviates: it then reads
// the log from its beginning, which is always right.
const (
	snapshotMagic   = "hfindex"
	snapshotVersion = 1

	blockPages  = 16
	maxBlock    = shardHead + blockPages*pageSize // of any payload
	blockHead   = 5
	headSize    = 16 + 8 + 32 + 8 + 16
	shardHead   = 1 + 4
	entrySize   = 1 + 8 + 1 + 1 + 8 + 4 + 4 + 4
	severalSize = 2 + 16 + 16 + 8 + 4 + 4 + 4 // and the members
	liftSize    = 8 + 4 + 8 + 4 + 8 + 4
	endSize     = 8 + 4
)

type blockType uint8

const (
	blockOfHead blockType = 1 + iota
	blockOfPages
	blockOfEntries
	blockOfSeveral
	blockOfLifts
	blockOfEnd
)

// Position is a place in the feed, as the feed knows it.
type Position struct {
	Epoch  [16]byte
	Number uint64
	Hash   [32]byte
}

// Image is the index as it was after one record. While it is written the index
// is read and changed as ever: a shard is copied at a time, what was applied
// later is left out, and what is lifted before it was copied is kept for it.
type Image struct {
	x       *Index
	at      Position
	applied uint64
	next    atomic.Int64 // the first shard that was not copied; changes under that shard's lock
	lifted  []aloneEntry
	rows    []*row // under x.write
}

// aloneEntry is an entry apart from its table.
type aloneEntry struct {
	shard uint8
	tag   tag
	entry entry
}

// ErrImage is what Freeze says of a second image, or of a position that is
// behind the index.
var ErrImage = errors.New("no image of the index can be made now")

// Freeze begins an image of the index. at is the feed's position: that of the
// last record applied, or of one after it that changed nothing. Call it where
// records are applied, between two of them, and then Write or Drop the image,
// anywhere. There is one at a time.
func (x *Index) Freeze(at Position) (*Image, error) {
	x.write.Lock()
	defer x.write.Unlock()
	if x.image != nil || at.Number < x.applied.Load() {
		return nil, ErrImage
	}
	x.image = &Image{x: x, at: at, applied: x.applied.Load()}
	return x.image, nil
}

// Position is the one that Freeze was given.
func (m *Image) Position() Position { return m.at }

// Drop ends an image that is not to be written.
func (m *Image) Drop() {
	m.x.write.Lock()
	defer m.x.write.Unlock()
	if m.x.image == m {
		m.x.image = nil
	}
}

// keep takes note of an entry that a lift removes. The caller holds x.write and
// the shard's lock.
func (m *Image) keep(s int, g tag, e entry) {
	if m != nil && int64(s) >= m.next.Load() && e.ref.Number <= m.applied {
		m.lifted = append(m.lifted, aloneEntry{uint8(s), g, e})
	}
}

// keepRow does so for a row, of which the image copies none before all shards.
func (m *Image) keepRow(r *row) {
	if m != nil && r.ref.Number <= m.applied {
		m.rows = append(m.rows, r)
	}
}

// Write writes the image, and drops it. A write that fails leaves nothing of
// use: the caller writes to a file aside and puts it in place afterwards.
func (m *Image) Write(w io.Writer) error {
	defer m.Drop()
	b := &blockWriter{w: w, block: make([]byte, 0, blockHead+maxBlock+4)}
	b.raw(append([]byte(snapshotMagic), snapshotVersion))
	m.writeHead(b)
	var alone []aloneEntry
	var copied []page
	for i := range m.x.shard {
		copied, alone = m.copyShard(i, copied[:0], alone)
		m.writePages(b, i, copied)
		if b.err != nil {
			return b.err
		}
	}
	// Every shard is copied: m.lifted has all that was lifted before that.
	m.x.write.Lock()
	alone = append(alone, m.lifted...)
	m.x.write.Unlock()
	for i := range alone {
		b.entry(&alone[i])
	}
	for _, r := range m.copySeveral() {
		b.several(r)
	}
	for i := range m.x.lifts.shard {
		for _, l := range m.x.lifts.rows(i) {
			if l.By.Number <= m.applied {
				b.lift(&l)
			}
		}
	}
	b.end()
	return b.err
}

func (m *Image) writeHead(b *blockWriter) {
	b.begin(blockOfHead)
	p := append(b.block, m.at.Epoch[:]...)
	p = binary.BigEndian.AppendUint64(p, m.at.Number)
	p = append(p, m.at.Hash[:]...)
	p = binary.BigEndian.AppendUint64(p, m.applied)
	p = binary.BigEndian.AppendUint64(p, m.x.key[0])
	b.block = binary.BigEndian.AppendUint64(p, m.x.key[1])
	b.flush()
}

// copyShard copies a shard's pages and what is kept aside: under its lock,
// which takes some hundred microseconds at 10 million entries.
func (m *Image) copyShard(i int, pages []page, alone []aloneEntry) ([]page, []aloneEntry) {
	s := &m.x.shard[i]
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.table.Load(); t != nil {
		for _, p := range t.pages {
			pages = append(pages, *p)
		}
	}
	for g, r := range s.aside.of {
		for _, e := range r.list {
			if e.ref.Number <= m.applied {
				alone = append(alone, aloneEntry{uint8(i), g, e})
			}
		}
	}
	m.next.Store(int64(i) + 1)
	return pages, alone
}

func (m *Image) writePages(b *blockWriter, shard int, pages []page) {
	for from := 0; from < len(pages); from += blockPages {
		b.begin(blockOfPages)
		b.block = append(b.block, byte(shard))
		b.block = binary.BigEndian.AppendUint32(b.block, uint32(len(pages)))
		for i := from; i < min(from+blockPages, len(pages)); i++ {
			for j := range pages[i] {
				b.bucket(&pages[i][j], m.applied)
			}
		}
		b.flush()
	}
}

// copySeveral lists the rows that are there, then those that were lifted
// before they could be listed.
func (m *Image) copySeveral() (rows []*row) {
	listed := make(map[*row]bool)
	add := func(r *row) {
		if r.ref.Number <= m.applied && !listed[r] {
			listed[r] = true
			rows = append(rows, r)
		}
	}
	for i := range m.x.several.shard {
		for _, r := range m.x.several.rows(i) {
			add(r)
		}
	}
	m.x.write.Lock()
	defer m.x.write.Unlock()
	for _, r := range m.rows {
		add(r)
	}
	return rows
}

// blockWriter gathers a block, and remembers the first error.
type blockWriter struct {
	w       io.Writer
	err     error
	block   []byte // its head and payload; empty between blocks
	all     uint32 // CRC-32C of everything written
	entries uint64
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (b *blockWriter) raw(p []byte) {
	if b.err == nil {
		if _, err := b.w.Write(p); err != nil {
			b.err = fmt.Errorf("write the snapshot: %w", err)
		}
	}
	b.all = crc32.Update(b.all, castagnoli, p)
}

// begin starts a block, or goes on with it where it is of the same type and
// has room for what may come.
func (b *blockWriter) begin(t blockType) {
	const mayCome = severalSize + MaxMembers*16
	if len(b.block) > 0 && (blockType(b.block[0]) != t || len(b.block)+mayCome > blockHead+maxBlock) {
		b.flush()
	}
	if len(b.block) == 0 {
		b.block = append(b.block, byte(t), 0, 0, 0, 0)
	}
}

func (b *blockWriter) flush() {
	if len(b.block) == 0 {
		return
	}
	binary.BigEndian.PutUint32(b.block[1:], uint32(len(b.block)-blockHead))
	b.block = binary.BigEndian.AppendUint32(b.block, crc32.Checksum(b.block, castagnoli))
	b.raw(b.block)
	b.block = b.block[:0]
}

// bucket adds a bucket's words, without what was applied after the image.
func (b *blockWriter) bucket(k *bucket, applied uint64) {
	for i := range k.refs {
		if k.refs[i] == 0 || k.refs[i]>>numberAt > applied {
			k.print[i], k.times[i], k.refs[i] = 0, 0, 0
			continue
		}
		b.entries++
	}
	for _, words := range [3]*[bucketSlots]uint64{&k.print, &k.times, &k.refs} {
		for _, v := range words {
			b.block = binary.LittleEndian.AppendUint64(b.block, v)
		}
	}
}

func (b *blockWriter) entry(a *aloneEntry) {
	b.begin(blockOfEntries)
	b.block = append(b.block, a.shard)
	b.block = binary.BigEndian.AppendUint64(b.block, a.tag.print)
	b.block = append(b.block, a.tag.tail, a.entry.kind)
	b.times(&a.entry)
}

func (b *blockWriter) times(e *entry) {
	b.ref(e.ref)
	b.block = binary.BigEndian.AppendUint32(b.block, e.before)
	b.block = binary.BigEndian.AppendUint32(b.block, e.until)
	b.entries++
}

func (b *blockWriter) ref(r Ref) {
	b.block = binary.BigEndian.AppendUint64(b.block, r.Number)
	b.block = binary.BigEndian.AppendUint32(b.block, r.Place)
}

func (b *blockWriter) several(r *row) {
	b.begin(blockOfSeveral)
	b.block = binary.BigEndian.AppendUint16(b.block, uint16(r.kinds))
	b.block = append(append(b.block, r.key[:]...), r.issuer[:]...)
	b.times(&r.entry)
	for rest := r.kinds; rest != 0; rest &= rest - 1 {
		b.block = append(b.block, r.member[rest.slot()][:]...)
	}
}

func (b *blockWriter) lift(l *liftRow) {
	b.begin(blockOfLifts)
	b.ref(l.ref)
	b.ref(l.By)
	b.block = binary.BigEndian.AppendUint64(b.block, uint64(l.At.UnixNano()))
	b.block = binary.BigEndian.AppendUint32(b.block, l.until)
}

func (b *blockWriter) end() {
	b.flush()
	all := b.all
	b.begin(blockOfEnd)
	b.block = binary.BigEndian.AppendUint64(b.block, b.entries)
	b.block = binary.BigEndian.AppendUint32(b.block, all)
	b.flush()
}
