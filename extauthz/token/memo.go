package token

import (
	"encoding/binary"
	"math"
	"time"
	"unsafe"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/cache/jose"
)

// The first byte of an entry: its kind and the version of its layout. Another
// one is a miss.
const (
	entryGood     = 0x31
	entryBad      = 0x32
	entryActive   = 0x33 // opaque tokens
	entryInactive = 0x34
)

// guardBytes are what an entry starts with: kind, digest of the credential,
// of the configuration and of the issuer's key set.
const guardBytes = 1 + 16 + 16 + 16

// Bits of an encoded session's flags.
const (
	flagNotBefore = 1 << iota
	flagAuth
	flagBound
	flagUnsupported
	flagOtherKey
	flagListed // in a status list

	flagsKnown = 1<<iota - 1
)

// remembered looks for a session that was verified under the configuration
// and the keys of now.
func (v *Verifier) remembered(s *Session) (*issuer, bool) {
	body, i := v.recall(v.c.Good, entryGood, &s.digest)
	if i == nil {
		return nil, false
	}
	if !s.decode(body) {
		*s = Session{digest: s.digest}
		return nil, false
	}
	s.Issuer = i.Name
	return i, true
}

// remember keeps a session whose signature and claims are right.
func (v *Verifier) remember(s *Session, set *jose.KeySet) {
	if v.c.Good != nil {
		v.c.Good.Put(&s.digest, s.encode(v.guard(entryGood, &s.digest, s.Issuer, set.ID())))
	}
}

// refused tells whether the signature was found wrong under the keys of now.
func (v *Verifier) refused(digest *[32]byte) bool {
	rest, i := v.recall(v.c.Bad, entryBad, digest)
	return i != nil && len(rest) == 0
}

func (v *Verifier) refuse(digest *[32]byte, i *issuer, set *jose.KeySet) {
	if v.c.Bad != nil {
		v.c.Bad.Put(digest, v.guard(entryBad, digest, i.Name, set.ID()))
	}
}

// guard starts an entry with all that has to be the same when it is read. keys
// is the ID of the issuer's key set, zero where there is none.
func (v *Verifier) guard(kind byte, digest *[32]byte, issuer string, keys [16]byte) []byte {
	b := make([]byte, 0, 1024)
	b = append(b, kind)
	b = append(b, digest[:16]...)
	b = append(b, v.config[:]...)
	b = append(b, keys[:]...)
	return appendText(b, issuer)
}

// recall reads an entry that was made with the issuer's keys of now. i is nil
// for a miss.
func (v *Verifier) recall(m Memo, kind byte, digest *[32]byte) (rest []byte, i *issuer) {
	rest, i, keys := v.entry(m, kind, digest)
	if i == nil {
		return nil, nil
	}
	set, ok := v.c.Keys.KeySet(i.Name)
	if !ok || set == nil || set.ID() != keys {
		return nil, nil
	}
	return rest, i
}

// entry reads an entry and its guard. i is nil for a miss.
func (v *Verifier) entry(m Memo, kind byte, digest *[32]byte) (rest []byte, i *issuer, keys [16]byte) {
	if m == nil {
		return nil, nil, keys
	}
	b, ok := m.Get(digest, nil)
	if !ok || len(b) < guardBytes || b[0] != kind ||
		[16]byte(b[1:17]) != [16]byte(digest[:16]) || [16]byte(b[17:33]) != v.config {
		return nil, nil, keys
	}
	d := decoder{rest: b[guardBytes:]}
	if i = v.issuers[d.text()]; d.bad || i == nil {
		return nil, nil, keys
	}
	return d.rest, i, [16]byte(b[33:guardBytes])
}

// texts lists the session's strings in the order of the layout.
func (s *Session) texts() [13]*string {
	return [...]*string{
		&s.Sub, &s.SID, &s.JTI, &s.Client, &s.Tenant, &s.Device,
		&s.KeyID, &s.Type, &s.ACR, &s.Scope, &s.Confirm.X5T, &s.Confirm.JKT, &s.StatusURI,
	}
}

// encode appends the session to b: flags, classes, times in seconds, the
// digests that it has, its strings.
func (s *Session) encode(b []byte) []byte {
	var flags byte
	for _, f := range [...]struct {
		bit byte
		set bool
	}{
		{flagNotBefore, !s.NotBefore.IsZero()},
		{flagAuth, !s.Auth.IsZero()},
		{flagBound, s.Confirm.Present},
		{flagUnsupported, s.Confirm.Unsupported},
		{flagOtherKey, s.OtherKey != cache.Key{}},
		{flagListed, s.StatusURI != ""},
	} {
		if f.set {
			flags |= f.bit
		}
	}
	b = append(b, flags)
	b = binary.LittleEndian.AppendUint64(b, s.Classes)
	b = binary.AppendUvarint(b, uint64(s.Until.Unix()))
	b = binary.AppendUvarint(b, uint64(s.Issued.Unix()))
	if flags&flagNotBefore != 0 {
		b = binary.AppendUvarint(b, uint64(s.NotBefore.Unix()))
	}
	if flags&flagAuth != 0 {
		b = binary.AppendUvarint(b, uint64(s.Auth.Unix()))
	}
	if flags&flagOtherKey != 0 {
		b = append(b, s.OtherKey[:]...)
	}
	if flags&flagListed != 0 {
		b = binary.AppendUvarint(b, s.StatusIndex)
	}
	var kinds uint16
	for slot := range s.Subject {
		if s.Subject[slot] != (cache.Key{}) {
			kinds |= 1 << slot
		}
	}
	b = binary.LittleEndian.AppendUint16(b, kinds)
	for slot := range s.Subject {
		if kinds&(1<<slot) != 0 {
			b = append(b, s.Subject[slot][:]...)
		}
	}
	for _, text := range s.texts() {
		b = appendText(b, *text)
	}
	return b
}

// decode reads what encode wrote, to its last byte, or reports a miss. The
// session's strings alias b.
func (s *Session) decode(b []byte) bool {
	d := decoder{rest: b}
	flags := d.take(1)
	classes := d.take(8)
	if d.bad || flags[0]&^flagsKnown != 0 {
		return false
	}
	s.Classes = binary.LittleEndian.Uint64(classes)
	s.Until, s.Issued = d.date(), d.date()
	if flags[0]&flagNotBefore != 0 {
		s.NotBefore = d.date()
	}
	if flags[0]&flagAuth != 0 {
		s.Auth = d.date()
	}
	s.Confirm.Present = flags[0]&flagBound != 0
	s.Confirm.Unsupported = flags[0]&flagUnsupported != 0
	if flags[0]&flagOtherKey != 0 {
		copy(s.OtherKey[:], d.take(len(s.OtherKey)))
	}
	if flags[0]&flagListed != 0 {
		s.StatusIndex = d.uvarint(math.MaxUint64)
	}
	word := d.take(2)
	if d.bad {
		return false
	}
	kinds := binary.LittleEndian.Uint16(word)
	if kinds>>len(s.Subject) != 0 {
		return false
	}
	for slot := range s.Subject {
		if kinds&(1<<slot) != 0 {
			copy(s.Subject[slot][:], d.take(len(s.Subject[slot])))
		}
	}
	for _, text := range s.texts() {
		*text = d.text()
	}
	return !d.bad && len(d.rest) == 0
}

func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// decoder takes fields from the front and remembers that one was cut short.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) take(n int) []byte {
	if d.bad || n < 0 || n > len(d.rest) {
		d.bad, d.rest = true, nil
		return nil
	}
	field := d.rest[:n]
	d.rest = d.rest[n:]
	return field
}

// uvarint refuses a number above limit, which is all that the field can hold.
func (d *decoder) uvarint(limit uint64) uint64 {
	n, size := binary.Uvarint(d.rest)
	if size <= 0 || n > limit {
		d.bad, d.rest = true, nil
		return 0
	}
	d.rest = d.rest[size:]
	return n
}

func (d *decoder) date() time.Time { return time.Unix(int64(d.uvarint(maxDate)), 0).UTC() }

// text gives a string that aliases the entry: Memo.Get gave it away.
func (d *decoder) text() string {
	field := d.take(int(d.uvarint(uint64(len(d.rest)))))
	return unsafe.String(unsafe.SliceData(field), len(field))
}
