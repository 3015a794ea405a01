package feed

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"github.com/holdfast-authz/holdfast/cache"
)

// The snapshot's file is what cache.Image writes, and behind it:
//
//	again   8  Marks.Again
//	time    8  Marks.Time, Unix nanoseconds, 0 for none
//	swept   8  Marks.Swept, the same
//	mac    32  HMAC-SHA-256 of everything before, under a key derived for it
const (
	marksSize   = 8 + 8 + 8
	trailerSize = marksSize + macSize

	// lookTime bounds the look at the log before a snapshot is used.
	lookTime = 2 * time.Second
	// spare is the free space that writing a snapshot leaves: the log needs
	// its reserve more than we need a newer snapshot.
	spare = 4 * reserve
	// syncBytes is how much is written between two syncs, so that an append
	// waits for the disk a little while several times, and never long.
	syncBytes = 16 << 20
)

// Start is where a feed goes on behind a snapshot.
type Start struct {
	Position cache.Position
	Marks
}

// Marks is what the records of a snapshot leave beside the index.
type Marks struct {
	Again uint64    // the first record that somebody has to be told again, 0 for none
	Time  time.Time // the latest time that they prove to have passed
	Swept time.Time // what had ended by then may be missing in the index
}

// Snapshot is the file in which a machine keeps the index as it was after some
// record, to read the log from there. It is never needed: without it the whole
// log is read. Whoever can write it and has not the feed's key can bring back
// an older one, and nothing more.
type Snapshot struct {
	Path   string // its directory is there; the file has mode 0600
	Key    []byte // the feed's
	Log    Log
	Head   *Head
	Logger *slog.Logger
}

// Load reads the snapshot. One that can not be used is moved aside, to
// Path.bad, and said; then, and where there is none, the index is empty and
// the feed starts at its first record. now is the wall clock.
func (s *Snapshot) Load(ctx context.Context, now time.Time) (*cache.Index, Start, error) {
	s.clean()
	index, start, err := s.read()
	if err == nil {
		err = s.fits(ctx, &start, now)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return cache.NewIndex(), Start{}, nil
	case err != nil:
		bad := s.Path + ".bad"
		s.Logger.Error("index snapshot can not be used: it is moved aside, and the whole feed is read", "error", err, "to", bad, "moved", os.Rename(s.Path, bad) == nil)
		return cache.NewIndex(), Start{}, err
	}
	return index, start, nil
}

// clean removes what a process left that was killed while it wrote.
func (s *Snapshot) clean() {
	directory, name := filepath.Split(s.Path)
	files, err := os.ReadDir(directory)
	for _, file := range files {
		if strings.HasPrefix(file.Name(), "."+name) {
			err = errors.Join(err, os.Remove(filepath.Join(directory, file.Name())))
		}
	}
	if err != nil {
		s.Logger.Warn("what is left of a snapshot can not be removed", "error", err)
	}
}

func (s *Snapshot) read() (*cache.Index, Start, error) {
	info, err := os.Lstat(s.Path)
	if err != nil {
		return nil, Start{}, fmt.Errorf("read the index snapshot: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, Start{}, fmt.Errorf("%s is no regular file", s.Path)
	}
	f, err := os.Open(s.Path)
	if err != nil {
		return nil, Start{}, fmt.Errorf("read the index snapshot: %w", err)
	}
	defer f.Close()
	return readImage(s.Key, f, info.Size())
}

// readImage reads a snapshot of a size. It goes over the bytes once, so that
// what is read is what the MAC was made of.
func readImage(key []byte, r io.Reader, size int64) (*cache.Index, Start, error) {
	if size < trailerSize {
		return nil, Start{}, fmt.Errorf("%w: it has %d bytes", cache.ErrSnapshot, size)
	}
	mac := hmac.New(sha256.New, derive(key, imageLabel))
	index, at, err := cache.ReadSnapshot(io.TeeReader(io.LimitReader(r, size-trailerSize), mac))
	if err != nil {
		return nil, Start{}, err
	}
	var b [trailerSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return nil, Start{}, fmt.Errorf("%w: read its end: %w", cache.ErrSnapshot, err)
	}
	mac.Write(b[:marksSize])
	if !hmac.Equal(mac.Sum(nil), b[marksSize:]) {
		return nil, Start{}, fmt.Errorf("%w: it was not made with this feed's key, or was altered", cache.ErrSnapshot)
	}
	return index, Start{Position: at, Marks: Marks{
		Again: binary.BigEndian.Uint64(b[:]), Time: timeOf(b[8:]), Swept: timeOf(b[16:]),
	}}, nil
}

func timeOf(b []byte) time.Time {
	n := int64(binary.BigEndian.Uint64(b))
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

func (m *Marks) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, m.Again)
	for _, t := range [...]time.Time{m.Time, m.Swept} {
		var n int64
		if !t.IsZero() {
			n = t.UnixNano()
		}
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	return b
}

// fits holds a snapshot that was read to what this machine has seen, and to
// the log. A log that can not be reached yet is no fault of the snapshot: the
// feed looks again before it reads on.
func (s *Snapshot) fits(ctx context.Context, start *Start, now time.Time) error {
	at := positionOf(start.Position)
	head, err := s.Head.position()
	switch {
	case err != nil:
		return err
	case at.number == 0 || start.Again > at.number:
		return fmt.Errorf("%w: it stands at record %d, and would begin again at %d", cache.ErrSnapshot, at.number, start.Again)
	case at.number > head.number:
		return fmt.Errorf("it stands at record %d, and this machine has seen %d", at.number, head.number)
	case at.epoch != head.epoch:
		return fmt.Errorf("it is of epoch %v, and this machine has seen epoch %v: %w", at.epoch, head.epoch, ErrEpoch)
	case start.Swept.After(now):
		return fmt.Errorf("what ends before %v is not in it, and it is %v: the clock is wrong, or was", start.Swept, now.UTC())
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	if c, ok := s.Log.(*Cluster); ok {
		_ = c.await(ctx)
	}
	var b *Break
	if err = still(ctx, s.Log, s.Key, at); errors.As(err, &b) {
		return err
	}
	if err != nil {
		s.Logger.Warn("index snapshot is used before the feed can be asked for its record", "error", err, "number", at.number)
	}
	return nil
}

// Save writes an image and puts it in place of the snapshot before, which
// stays where that fails. marks is asked after the index is written.
func (s *Snapshot) Save(image *cache.Image, marks func() Marks) error {
	defer image.Drop()
	// What is above the head would not be read again.
	if err := s.Head.store(positionOf(image.Position()), true); err != nil {
		return err
	}
	if err := s.save(image, marks); err != nil {
		return fmt.Errorf("write the index snapshot: %w", err)
	}
	return nil
}

func (s *Snapshot) save(image *cache.Image, marks func() Marks) error {
	directory := filepath.Dir(s.Path)
	f, err := renameio.NewPendingFile(s.Path, renameio.WithTempDir(directory), renameio.WithPermissions(0o600), renameio.IgnoreUmask())
	if err != nil {
		return err
	}
	defer func() { _ = f.Cleanup() }()
	out := bufio.NewWriterSize(&careful{file: f.File, directory: directory}, 1<<20)
	mac := hmac.New(sha256.New, derive(s.Key, imageLabel))
	if err := image.Write(io.MultiWriter(out, mac)); err != nil {
		return err
	}
	m := marks()
	b := m.append(nil)
	mac.Write(b)
	if _, err := out.Write(mac.Sum(b)); err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return err
	}
	return f.CloseAtomicallyReplace() // syncs it first
}

// careful writes to a file, a bit at a time and not to the last block.
type careful struct {
	file      *os.File
	directory string
	unsynced  int
}

func (c *careful) Write(p []byte) (int, error) {
	free, err := freeSpace(c.directory)
	if err != nil {
		return 0, err
	}
	if need := uint64(spare + len(p)); free < need {
		return 0, fmt.Errorf("only %d KiB are free in %s and %d are needed", free>>10, c.directory, need>>10)
	}
	if c.unsynced += len(p); c.unsynced >= syncBytes {
		c.unsynced = 0
		if err := c.file.Sync(); err != nil {
			return 0, err
		}
	}
	return c.file.Write(p)
}

func positionOf(p cache.Position) position {
	return position{epoch: p.Epoch, number: p.Number, hash: p.Hash}
}
