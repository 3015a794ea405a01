package wire

import (
	"encoding/binary"
	"errors"
	"unicode/utf8"
	"unsafe"
)

// Wire types (protobuf encoding, "Message Structure").
const (
	wireVarint = iota
	wireFixed64
	wireBytes
	wireStartGroup
	wireEndGroup
	wireFixed32
)

const (
	maxField = 1<<29 - 1 // largest field number of a message
	// Within an unknown group proto.Unmarshal takes any number of 31 bits.
	maxGroupField = 1<<31 - 1
)

// What can be wrong with a message.
var (
	ErrWire  = errors.New("not valid protobuf")
	ErrUTF8  = errors.New("a string field is not UTF-8")
	ErrDepth = errors.New("messages nested too deep")
)

// fields iterates over the fields of one message.
//
//	f := fields{rest: msg}
//	for f.next() { use f.num, f.wire, f.value }
//	if f.err != nil { … }
type fields struct {
	rest  []byte
	num   uint32
	wire  byte
	value []byte // of wireBytes only; aliases the message
	err   error
}

// next goes to the next field; false at the end and after an error, the
// caller's too.
func (f *fields) next() bool {
	b := f.rest
	if len(b) == 0 || f.err != nil {
		return false
	}
	tag, n := varint(b)
	num := tag >> 3
	if n == 0 || num == 0 || num > maxField {
		f.err = ErrWire
		return false
	}
	f.num, f.wire = uint32(num), byte(tag&7) //nolint:gosec // bounded by maxField
	if f.wire != wireBytes {
		size, err := skip(b[n:], num, f.wire, maxDepth)
		f.value, f.rest, f.err = nil, b[n+size:], err
		return err == nil
	}
	size, m := varint(b[n:])
	n += m
	if m == 0 || size > uint64(len(b)-n) {
		f.err = ErrWire
		return false
	}
	end := n + int(size) //nolint:gosec // at most len(b)
	f.value, f.rest = b[n:end], b[end:]
	return true
}

// varint reads a base-128 integer; n is 0 where b ends within it or it has
// more than 64 bits. Padding with zero groups is valid, as everywhere.
func varint(b []byte) (v uint64, n int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	return longVarint(b)
}

func longVarint(b []byte) (v uint64, n int) {
	for i := 0; i < len(b) && i < 10; i++ {
		c := b[i]
		if i == 9 && c > 1 {
			return 0, 0 // past 64 bits
		}
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}

// skip gives the length of a value that nobody reads.
func skip(b []byte, num uint64, wire byte, depth int) (n int, err error) {
	switch wire {
	case wireVarint:
		_, n = varint(b)
	case wireFixed32:
		n = 4
	case wireFixed64:
		n = 8
	case wireBytes:
		size, m := varint(b)
		if m == 0 || size > uint64(len(b)-m) {
			return 0, ErrWire
		}
		return m + int(size), nil //nolint:gosec // at most len(b)
	case wireStartGroup:
		return skipGroup(b, num, depth)
	}
	// An end without a start, and the reserved types, leave n at 0.
	if n == 0 || n > len(b) {
		return 0, ErrWire
	}
	return n, nil
}

// skipGroup goes to the end of a group. Groups are long deprecated, but valid
// as unknown fields.
func skipGroup(b []byte, num uint64, depth int) (n int, err error) {
	if depth == 0 {
		return 0, ErrDepth
	}
	for n < len(b) {
		tag, m := varint(b[n:])
		inner, wire := tag>>3, byte(tag&7)
		if m == 0 || inner == 0 || inner > maxGroupField {
			return 0, ErrWire
		}
		n += m
		if wire == wireEndGroup {
			if inner != num {
				return 0, ErrWire
			}
			return n, nil
		}
		m, err = skip(b[n:], inner, wire, depth-1)
		if err != nil {
			return 0, err
		}
		n += m
	}
	return 0, ErrWire
}

// text takes a string field into dst. A field of another wire type is unknown
// and leaves dst alone.
func (f *fields) text(dst *string) {
	if f.wire != wireBytes {
		return
	}
	if !validUTF8(f.value) {
		f.err = ErrUTF8
		return
	}
	*dst = alias(f.value)
}

// validUTF8 is utf8.Valid with a short way for ASCII, which nearly every string
// of a request is: it took a third of the whole decoding.
func validUTF8(b []byte) bool {
	var seen uint64
	i := 0
	for ; i+8 <= len(b); i += 8 {
		seen |= binary.LittleEndian.Uint64(b[i:])
	}
	for ; i < len(b); i++ {
		seen |= uint64(b[i])
	}
	return seen&0x8080808080808080 == 0 || utf8.Valid(b)
}

// alias is b as a string that shares its memory.
func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
