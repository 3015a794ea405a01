package feed

import (
	"crypto/hmac"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-authz/holdfast/cache"
)

// A notice is what a replica says of itself; numbers are big-endian:
//
//	version   1
//	flags     1
//	sender   16  random, of one process
//	number    8  of this notice, from 1
//	applied   8  number of the last record applied
//	host      1  and that many bytes
//	release   1  and that many bytes
//	counts    *  replica 16, record 8, place 4, until 8, count 8, first 8, last 8
//	             (until in Unix seconds, first and last in Unix nanoseconds); up to maxCounts of them
//	mac      32  HMAC-SHA-256 of everything before, under a key made from the feed's
const (
	noticeVersion = 1
	noticeHead    = 2 + senderSize + 8 + 8
	countSize     = senderSize + 8 + 4 + 4*8

	// maxCounts bounds one notice; what is more goes into the next.
	maxCounts = 512
	// maxName bounds the host's name and the program's version.
	maxName = 255
)

// Flags of a notice.
const (
	flagReady   = 1 << iota // the feed was read to its end: it decides
	flagAsks                // tell me all counts
	flagGoodbye             // this is the last notice
)

// notice is one, opened.
type notice struct {
	sender        [senderSize]byte
	flags         byte
	number        uint64
	applied       uint64
	host, release string
	counts        []count
}

// count is what one replica has denied by one revocation, since it started.
type count struct {
	replica [senderSize]byte
	ref     cache.Ref
	until   int64 // the revocation's end, Unix seconds
	cache.Enforced
}

func sealNotice(key []byte, n *notice) []byte {
	b := make([]byte, 0, noticeHead+2+len(n.host)+len(n.release)+len(n.counts)*countSize+macSize)
	b = append(b, noticeVersion, n.flags)
	b = append(b, n.sender[:]...)
	b = binary.BigEndian.AppendUint64(b, n.number)
	b = binary.BigEndian.AppendUint64(b, n.applied)
	for _, name := range [...]string{n.host, n.release} {
		name = name[:min(len(name), maxName)]
		b = append(append(b, byte(len(name))), name...)
	}
	for i := range n.counts {
		c := &n.counts[i]
		b = append(b, c.replica[:]...)
		b = binary.BigEndian.AppendUint64(b, c.ref.Number)
		b = binary.BigEndian.AppendUint32(b, c.ref.Place)
		for _, v := range [...]int64{c.until, int64(c.Count), c.First.UnixNano(), c.Last.UnixNano()} { //nolint:gosec // read back in the same way
			b = binary.BigEndian.AppendUint64(b, uint64(v)) //nolint:gosec // as above
		}
	}
	return appendMAC(b, key, b)
}

// openNotice reads a notice: its form and its MAC.
func openNotice(key, b []byte) (*notice, error) {
	if len(b) < noticeHead+2+macSize || len(b) > noticeHead+2*(1+maxName)+maxCounts*countSize+macSize {
		return nil, fmt.Errorf("a notice has %d bytes", len(b))
	}
	if b[0] != noticeVersion {
		return nil, fmt.Errorf("a notice has version %d, this program reads version %d", b[0], noticeVersion)
	}
	covered := b[:len(b)-macSize]
	var want [macSize]byte
	if !hmac.Equal(appendMAC(want[:0], key, covered), b[len(covered):]) {
		return nil, errors.New("the MAC of a notice does not verify")
	}
	n := &notice{flags: b[1], sender: [senderSize]byte(b[2:])}
	n.number = binary.BigEndian.Uint64(b[2+senderSize:])
	n.applied = binary.BigEndian.Uint64(b[2+senderSize+8:])
	var ok bool
	rest := covered[noticeHead:]
	if n.host, rest, ok = shortText(rest); ok {
		n.release, rest, ok = shortText(rest)
	}
	if !ok || len(rest)%countSize != 0 || len(rest) > maxCounts*countSize {
		return nil, errors.New("a notice is cut off, or too long")
	}
	for ; len(rest) > 0; rest = rest[countSize:] {
		n.counts = append(n.counts, openCount(rest))
	}
	return n, nil
}

func shortText(b []byte) (text string, rest []byte, ok bool) {
	if len(b) == 0 || len(b) < 1+int(b[0]) {
		return "", nil, false
	}
	end := 1 + int(b[0])
	return string(b[1:end]), b[end:], true
}

func openCount(b []byte) (c count) {
	c.replica = [senderSize]byte(b)
	b = b[senderSize:]
	c.ref = cache.Ref{Number: binary.BigEndian.Uint64(b), Place: binary.BigEndian.Uint32(b[8:])}
	number := func(i int) uint64 { return binary.BigEndian.Uint64(b[12+8*i:]) }
	c.until, c.Count = int64(number(0)), number(1)                                               //nolint:gosec // as it was written
	c.First, c.Last = time.Unix(0, int64(number(2))).UTC(), time.Unix(0, int64(number(3))).UTC() //nolint:gosec // as it was written
	return c
}
