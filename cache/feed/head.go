package feed

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/google/renameio/v2"
)

// The head file has two slots, each in a page of its own. They are written in
// turn and in place: no write needs a free block, so a full disk does not stop
// them, and a write that is cut off spoils one slot only.
//
//	magic   8
//	epoch  16
//	number  8
//	hash   32
//	crc     4  CRC-32C of everything before
const (
	slotSize  = 4096
	slotBytes = 8 + 16 + 8 + 32 + 4
	headSize  = 2 * slotSize
	headMagic = "hfhead1\n"
)

// Head remembers, on this machine, the highest record that was ever seen in
// the feed. A log that lacks it was rolled back or made anew.
//
// To accept such a log nevertheless, and with it the loss of what it lacks,
// stop Holdfast, remove the head file, and start again. The same mends a head
// file that is damaged.
//
// Whoever restores the head file together with the log is not noticed: keep
// backups of the log only.
type Head struct {
	path string

	mu      sync.Mutex
	file    *os.File
	seen    position // the highest, in memory
	keep    int      // the slot that is not overwritten: of the last synced write
	synced  uint64   // number of the last synced write of this process
	damaged error    // why the file can not be used
}

// OpenHead opens or makes the head file. A damaged one is no error here: the
// feed that uses it says so, and is broken until the file is removed.
func OpenHead(path string) (*Head, error) {
	h := &Head{path: path}
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = renameio.WriteFile(path, make2Slots(), 0o600, renameio.IgnoreUmask()); err != nil {
			return nil, fmt.Errorf("make the feed's head file: %w", err)
		}
	} else if err != nil {
		return nil, fmt.Errorf("open the feed's head file: %w", err)
	}
	h.file, err = os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("open the feed's head file: %w", err)
	}
	h.load()
	return h, nil
}

func make2Slots() []byte {
	b := make([]byte, headSize)
	encodeSlot(b, position{})
	encodeSlot(b[slotSize:], position{})
	return b
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func encodeSlot(dst []byte, p position) {
	b := append(dst[:0], headMagic...)
	b = append(b, p.epoch[:]...)
	b = binary.BigEndian.AppendUint64(b, p.number)
	b = append(b, p.hash[:]...)
	binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeSlot(b []byte) (p position, ok bool) {
	sum := len(headMagic) + 16 + 8 + 32
	if len(b) < slotBytes || string(b[:len(headMagic)]) != headMagic ||
		crc32.Checksum(b[:sum], castagnoli) != binary.BigEndian.Uint32(b[sum:]) {
		return position{}, false
	}
	b = b[len(headMagic):]
	p.epoch = Epoch(b[:16])
	p.number = binary.BigEndian.Uint64(b[16:])
	copy(p.hash[:], b[24:])
	return p, true
}

func (h *Head) load() {
	b, err := io.ReadAll(io.LimitReader(h.file, headSize+1))
	if err != nil || len(b) != headSize {
		h.damaged = fmt.Errorf("%s has %d bytes, not %d (%w); %s", h.path, len(b), headSize, errors.Join(err, ErrHead), h.mend())
		return
	}
	first, ok0 := decodeSlot(b)
	second, ok1 := decodeSlot(b[slotSize:])
	switch {
	case !ok0 && !ok1, ok0 && ok1 && first.number != 0 && second.number != 0 && first.epoch != second.epoch:
		h.damaged = fmt.Errorf("%s: %w: none of its two slots can be used; %s", h.path, ErrHead, h.mend())
	case ok0 && (!ok1 || first.number >= second.number):
		h.seen, h.keep = first, 0
	default:
		h.seen, h.keep = second, 1
	}
}

func (h *Head) mend() string {
	return "what this machine has seen is unknown, so nothing is allowed: " +
		"check that the log is complete, then stop Holdfast, remove the file and start again"
}

// position is the highest one seen, or why that is not known.
func (h *Head) position() (position, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.seen, h.damaged
}

// store notes a position, where it is higher than the one before. With sync it
// returns nil only when that one, or a higher one, is on the disk; without, it
// may be lost when the machine fails, and it leaves the last synced slot alone.
func (h *Head) store(p position, sync bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.damaged != nil:
		return h.damaged
	case h.file == nil:
		return fmt.Errorf("write the feed's head file %s: %w", h.path, fs.ErrClosed)
	case sync && p.number <= h.synced, !sync && p.number <= h.seen.number:
		return nil
	case p.number < h.seen.number:
		p = h.seen // it was written, but not synced
	}
	var b [slotBytes]byte
	encodeSlot(b[:], p)
	slot := 1 - h.keep
	if _, err := h.file.WriteAt(b[:], int64(slot)*slotSize); err != nil {
		return fmt.Errorf("write the feed's head file: %w", err)
	}
	h.seen = p
	if sync {
		// After a failed sync the next call writes the slot again: a second
		// sync alone would report success for pages the kernel has dropped.
		if err := h.file.Sync(); err != nil {
			return fmt.Errorf("sync the feed's head file: %w", err)
		}
		h.keep, h.synced = slot, p.number
	}
	return nil
}

// Close closes the file.
func (h *Head) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.file == nil {
		return nil
	}
	f := h.file
	h.file = nil
	return f.Close()
}
