package feed

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"time"
)

// A record on the wire; numbers are big-endian:
//
//	version   1
//	type      1
//	epoch    16  random, made with the genesis record
//	number    8  the record's own, from 1
//	previous 32  SHA-256 of all bytes of the record before; zero for the first
//	time      8  Unix nanoseconds by the appender's clock
//	payload   *  events: cache.EncodeEvents; otherwise empty
//	mac      32  HMAC-SHA-256 of everything before, under the feed's key
const (
	recordVersion = 1

	epochAt    = 2
	numberAt   = epochAt + 16
	previousAt = numberAt + 8
	timeAt     = previousAt + sha256.Size
	payloadAt  = timeAt + 8
	macSize    = sha256.Size

	minRecord = payloadAt + macSize

	// MaxRecord bounds a record. A request body of 4 MiB with 10 000
	// revocations fits in; and the record, in base64, in one of the broker's
	// answers.
	MaxRecord = 5900 << 10
)

// recordType says what a record is for.
type recordType uint8

const (
	typeGenesis recordType = 1 // the first record: names the epoch
	typeEvents  recordType = 2 // changes the index
	typeTick    recordType = 3 // proves that the feed is alive
)

func (t recordType) String() string {
	switch t {
	case typeGenesis:
		return "genesis"
	case typeEvents:
		return "events"
	case typeTick:
		return "tick"
	}
	return "unknown"
}

// Epoch names one feed from its genesis on: a stream that was made anew has
// another one.
type Epoch [16]byte

func (e Epoch) String() string { return hex.EncodeToString(e[:]) }

// position is a place in the chain: the last record that fits. Its zero value
// stands before the first record.
type position struct {
	epoch  Epoch
	number uint64
	hash   [sha256.Size]byte // of that record
}

// record is one that was opened and fits.
type record struct {
	position
	kind    recordType
	at      time.Time
	payload []byte // part of the bytes it was read from
}

// seal makes the record that follows after. The epoch of a genesis record
// stands in after, with number 0.
func seal(key []byte, after position, kind recordType, at time.Time, payload []byte) ([]byte, position) {
	b := make([]byte, 0, minRecord+len(payload))
	b = append(b, recordVersion, byte(kind))
	b = append(b, after.epoch[:]...)
	b = binary.BigEndian.AppendUint64(b, after.number+1)
	b = append(b, after.hash[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(at.UnixNano()))
	b = append(b, payload...)
	b = appendMAC(b, key, b)
	return b, position{epoch: after.epoch, number: after.number + 1, hash: sha256.Sum256(b)}
}

func appendMAC(dst, key, covered []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write(covered)
	return m.Sum(dst)
}

// parse reads a record on its own: its form and its MAC. Whether it belongs
// where it was found is for follows to say. number is where it was found.
func parse(key []byte, number uint64, b []byte) (record, error) {
	if len(b) == 0 {
		return record{}, breakAt(number, ErrForm, "it is empty")
	}
	// The version decides where everything else stands, the MAC included.
	if b[0] != recordVersion {
		return record{}, breakAt(number, ErrVersion, "version %d, this program reads version %d", b[0], recordVersion)
	}
	if len(b) < minRecord || len(b) > MaxRecord {
		return record{}, breakAt(number, ErrForm, "it has %d bytes, not %d to %d", len(b), minRecord, MaxRecord)
	}
	covered := b[:len(b)-macSize]
	var want [macSize]byte
	if !hmac.Equal(appendMAC(want[:0], key, covered), b[len(covered):]) {
		return record{}, breakAt(number, ErrMAC, "its MAC does not verify")
	}
	r := record{kind: recordType(b[1]), payload: covered[payloadAt:]}
	r.epoch = Epoch(b[epochAt:numberAt])
	r.number = binary.BigEndian.Uint64(b[numberAt:])
	r.hash = sha256.Sum256(b)
	r.at = time.Unix(0, int64(binary.BigEndian.Uint64(b[timeAt:]))).UTC()
	switch r.kind {
	case typeEvents:
	case typeGenesis, typeTick:
		if len(r.payload) != 0 {
			return record{}, breakAt(number, ErrForm, "a %v record carries %d bytes", r.kind, len(r.payload))
		}
	default:
		return record{}, breakAt(number, ErrType, "type %d is of a newer program, or none", b[1])
	}
	return r, nil
}

// open reads the record found at number and holds it to the position before.
func open(key []byte, after position, number uint64, b []byte) (record, error) {
	r, err := parse(key, number, b)
	if err != nil {
		return record{}, err
	}
	previous := b[previousAt:timeAt]
	switch {
	case number != after.number+1:
		return record{}, breakAt(number, ErrGap, "it came after record %d", after.number)
	case after.number == 0 && r.kind != typeGenesis:
		return record{}, breakAt(number, ErrType, "the first record is not genesis but %v", r.kind)
	case after.number != 0 && r.epoch != after.epoch:
		return record{}, breakAt(number, ErrEpoch, "epoch %v, not %v", r.epoch, after.epoch)
	case after.number != 0 && r.kind == typeGenesis:
		return record{}, breakAt(number, ErrType, "a second genesis")
	case r.number != number:
		return record{}, breakAt(number, ErrChain, "it was written as record %d", r.number)
	case [sha256.Size]byte(previous) != after.hash:
		return record{}, breakAt(number, ErrChain, "it names another record %d as the one before", after.number)
	}
	return r, nil
}
