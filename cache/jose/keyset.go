package jose

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Limits of a JWK Set document.
const (
	MaxKeySetBytes = 1 << 20
	MaxKeys        = 64
)

// KeySet is an issuer's keys. It never changes once it is parsed and may be
// used from any goroutine.
type KeySet struct {
	keys []Key
	id   [16]byte
}

// ParseKeySet reads a JWK Set (RFC 7517 section 5). A document that could be
// read in two ways fails: members or kids that stand twice. Keys that are of
// no use here (symmetric, private, for encryption, weak, of an unknown type)
// are left out; a set without any other key fails, so that the caller keeps
// the last good one.
func ParseKeySet(doc []byte) (*KeySet, error) { return parseKeySet(doc, toVerify) }

// ParseBundle reads the JWT keys of a SPIFFE bundle: a JWK Set whose entries
// all say in use what they are for. One without use, or for X.509-SVIDs, is no
// key of a JWT-SVID (SPIFFE Trust Domain and Bundle, 4.2.2). All else is as in
// ParseKeySet.
func ParseBundle(doc []byte) (*KeySet, error) { return parseKeySet(doc, forJWTSVID) }

func parseKeySet(doc []byte, serves func(jwk *Object) error) (*KeySet, error) {
	obj, err := parseObject(string(doc), MaxKeySetBytes)
	if err != nil {
		return nil, fmt.Errorf("read key set: %w", err)
	}
	member, _ := obj.Get("keys")
	items, ok := member.Items()
	if !ok {
		return nil, errors.New(`read key set: it has no array "keys"`)
	}
	if len(items) > MaxKeys {
		return nil, fmt.Errorf("read key set: it has %d keys; at most %d are read", len(items), MaxKeys)
	}
	set := &KeySet{}
	var kids []string
	var left error
	for i, item := range items {
		jwk, ok := item.Object()
		if !ok {
			return nil, fmt.Errorf("read key set: key %d is not an object", i)
		}
		// Keys that will be left out count too: the issuer named two things alike.
		if v, _ := jwk.Get("kid"); v.kind == String {
			if slices.Contains(kids, v.text) {
				return nil, fmt.Errorf("read key set: kid %.64q stands twice", v.text)
			}
			kids = append(kids, v.text)
		}
		key, err := parseKey(jwk, serves)
		if err != nil {
			left = errors.Join(left, fmt.Errorf("key %d: %w", i, err))
			continue
		}
		set.keys = append(set.keys, key)
	}
	if len(set.keys) == 0 {
		return nil, errors.Join(errors.New("read key set: it has no key that could verify a token"), left)
	}
	set.id = digest(set.keys)
	return set, nil
}

// digest is the same for the same keys in any order.
func digest(keys []Key) (id [16]byte) {
	rows := make([]string, len(keys))
	for i := range keys {
		k := &keys[i]
		var row []byte
		for _, part := range [...]string{k.ID, k.Alg, Thumbprint(k.Public)} {
			row = binary.BigEndian.AppendUint32(row, uint32(len(part)))
			row = append(row, part...)
		}
		if k.HasID {
			row = append(row, 1)
		}
		rows[i] = string(row)
	}
	slices.Sort(rows)
	sum := sha256.Sum256([]byte(strings.Join(rows, "\n")))
	return [16]byte(sum[:16])
}

// Keys gives a copy of the list of keys.
func (s *KeySet) Keys() []Key { return slices.Clone(s.keys) }

// ID is a digest of the usable keys: another key, kid or alg gives another one.
func (s *KeySet) ID() [16]byte { return s.id }

// Find picks the one key that may have signed a token: by kid, or without a
// kid the only key of the set that serves the token's algorithm. It fails with
// ErrKeyUnknown, or with ErrAlgorithm where the key does not serve that one.
// kid is the sender's text and is compared, nothing else.
func (s *KeySet) Find(t *JWS) (*Key, error) {
	var found *Key
	for i := range s.keys {
		k := &s.keys[i]
		switch {
		case t.HasKeyID && k.HasID && k.ID == t.KeyID:
			if !k.serves(t.Alg) {
				return nil, fmt.Errorf("%w: key %.64q does not serve %s", ErrAlgorithm, k.ID, t.Alg)
			}
			return k, nil
		case !t.HasKeyID && k.serves(t.Alg):
			if found != nil {
				return nil, fmt.Errorf("%w: no kid, and more than one key of %s", ErrKeyUnknown, t.Alg)
			}
			found = k
		}
	}
	if found == nil {
		return nil, fmt.Errorf("%w: kid %.64q", ErrKeyUnknown, t.KeyID)
	}
	return found, nil
}

func (k *Key) serves(alg string) bool {
	a := find(alg)
	return a != nil && (k.Alg == "" || k.Alg == a.name) && a.fits(k.Public)
}

// Verify checks a token's signature with this key: ErrAlgorithm, ErrSignature or nil.
func (k *Key) Verify(t *JWS) error {
	if !k.serves(t.Alg) {
		return fmt.Errorf("%w: the key does not serve %.32q", ErrAlgorithm, t.Alg)
	}
	if err := find(t.Alg).method.Verify(t.SigningInput, t.Signature, k.Public); err != nil {
		return fmt.Errorf("%w: %w", ErrSignature, err)
	}
	return nil
}

// Verify finds the key and checks the signature. kid is that of the key, also
// where the token names none; "" where the key has none.
func (s *KeySet) Verify(t *JWS) (kid string, err error) {
	key, err := s.Find(t)
	if err != nil {
		return "", err
	}
	return key.ID, key.Verify(t)
}
