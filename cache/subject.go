package cache

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"
)

// Kinds is a set of the ways in which a session can be named. A revocation
// names its session by one kind, a request carries a digest for each kind
// that its credential has.
type Kinds uint16

// The kinds of contract §4, in its order.
const (
	Token      Kinds = 1 << iota // jti, inside one issuer
	Session                      // sid, inside one issuer
	User                         // sub, inside one issuer
	Client                       // client_id, inside one issuer
	Tenant                       // tenant claim, inside one issuer
	Issuer                       // iss itself
	SigningKey                   // kid, inside one issuer
	BindingKey                   // jkt or x5t#S256, the same at every issuer
	Device                       // device claim, inside one issuer
	TokenHash                    // SHA-256 of a JWT's signing input, else of the credential

	numKinds = iota
)

// kindNames are the words of the API, the configuration and the metrics.
var kindNames = [numKinds]string{
	"token", "session", "subject", "client", "tenant", "issuer",
	"signing_key", "binding_key", "device", "token_hash",
}

// AllKinds lists every single kind, in the contract's order.
func AllKinds() []Kinds {
	all := make([]Kinds, numKinds)
	for i := range all {
		all[i] = 1 << i
	}
	return all
}

// ParseKind reads the API's word for a kind.
func ParseKind(word string) (Kinds, error) {
	for i, name := range kindNames {
		if name == word {
			return 1 << i, nil
		}
	}
	return 0, fmt.Errorf("unknown kind %q; one of %v", word, kindNames)
}

// String gives the API's word of a single kind; of several, all their words.
func (k Kinds) String() string {
	if k == 0 || k >= 1<<numKinds {
		return fmt.Sprintf("kinds(%#x)", uint16(k))
	}
	words := kindNames[k.slot()]
	for rest := k & (k - 1); rest != 0; rest &= rest - 1 {
		words += "+" + kindNames[rest.slot()]
	}
	return words
}

// InIssuer reports whether a value of this kind is only unique inside one
// issuer, so that a revocation has to name the issuer too.
func (k Kinds) InIssuer() bool {
	return k&(Issuer|BindingKey|TokenHash) == 0
}

// Dated reports whether a revocation of this kind spares sessions that began
// after its not_before. The other kinds deny until they expire or are lifted.
// One that names several kinds is dated when one of them is.
func (k Kinds) Dated() bool {
	return k&(User|Client|Tenant|Issuer) != 0
}

func (k Kinds) len() int { return bits.OnesCount16(uint16(k)) }

func (k Kinds) single() bool {
	return k.len() == 1 && k < 1<<numKinds
}

// slot is the kind's place in a Subject; of several, the first one's.
func (k Kinds) slot() int { return bits.TrailingZeros16(uint16(k)) }

// Key is a digest of what a kind names: no personal data stays in memory,
// and two parts can not be confused (each is hashed with its length).
type Key [16]byte

// KeyOf digests a value of a kind. The issuer counts only for the kinds that
// live inside one; for the others it is ignored.
func KeyOf(kind Kinds, issuer, value string) Key {
	if !kind.InIssuer() {
		issuer = ""
	}
	h := sha256.New()
	var n [4]byte
	h.Write([]byte{byte(kind >> 8), byte(kind)})
	for _, part := range [2]string{issuer, value} {
		binary.BigEndian.PutUint32(n[:], uint32(len(part)))
		h.Write(n[:])
		h.Write([]byte(part))
	}
	var sum [sha256.Size]byte
	return Key(h.Sum(sum[:0])[:16])
}

// KeyOfAll digests the members of a complex subject.
func KeyOfAll(issuer string, members []Member) Key {
	h := sha256.New()
	of := KeyOf(Issuer, "", issuer)
	h.Write(of[:])
	for _, m := range members {
		of = KeyOf(m.Kind, issuer, m.Value)
		h.Write([]byte{byte(m.Kind >> 8), byte(m.Kind)})
		h.Write(of[:])
	}
	var sum [sha256.Size]byte
	return Key(h.Sum(sum[:0])[:16])
}

// Subject is one request's identity: a digest for each kind its credential
// carries, zero where it carries none.
type Subject [numKinds]Key

// Set names the session by one more kind.
func (s *Subject) Set(kind Kinds, key Key) { s[kind.slot()] = key }

// Key gives the digest for one kind; ok is false where the credential has none.
func (s *Subject) Key(kind Kinds) (key Key, ok bool) {
	key = s[kind.slot()]
	return key, key != Key{}
}
