package token

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unsafe"

	"github.com/holdfast-authz/holdfast/cache/jose"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
)

// Limits of a credential's length, in bytes.
const (
	defaultMaxBytes = 8192
	largestMaxBytes = 64 << 10
)

// Keys gives an issuer's current keys from memory.
type Keys interface {
	// KeySet is ok=false where the issuer has no usable keys now.
	KeySet(issuer string) (set *jose.KeySet, ok bool)
	// Wanted says that a token names a key the set does not have. It returns
	// at once; whether and when keys are fetched is not the check's business.
	Wanted(issuer string)
}

// Memo remembers bytes under a digest for some time. A value that Get gives
// belongs to the caller; Put keeps a copy.
type Memo interface {
	Get(digest *[32]byte, dst []byte) ([]byte, bool)
	Put(digest *[32]byte, v []byte)
}

// Config of a Verifier. A reload makes a new one.
type Config struct {
	Issuers []Issuer // at least one
	Keys    Keys     // required

	// Good and Bad remember what was verified and what did not verify; nil
	// remembers nothing. They may outlive the Verifier and may be one.
	Good, Bad Memo

	// MaxBytes is the longest credential that is looked at; default 8192, at
	// most 64 KiB.
	MaxBytes int

	Opaque  Opaque                                   // for credentials that are no JWT
	APIKeys func(sum [32]byte) (key APIKey, ok bool) // by SHA-256 of the key; nil knows none

	// Generation differs for each configuration that a shared Memo has seen.
	Generation uint64

	// Classify looks at a verified token once; its answer stays with the
	// session. typ is in the form of Session.Type; claims is nil for what has
	// none, an API key or a certificate. May be nil.
	Classify func(typ string, s *Session, claims *jose.Object) uint64

	// Verified is told of each signature check. May be nil.
	Verified func(issuer, alg string, ok bool)

	// Acquire lets one more signature check run, or says that too many do;
	// Release ends it. Both or none.
	Acquire func() bool
	Release func()
}

// Verifier verifies tokens. It does not change; any goroutine may use it.
type Verifier struct {
	c       Config
	issuers map[string]*issuer
	domains bool     // some are trust domains
	config  [16]byte // digest of what a memo entry depends on
}

// New makes a Verifier, or says what is wrong with the configuration.
func New(c Config) (*Verifier, error) {
	v := &Verifier{c: c, issuers: make(map[string]*issuer, len(c.Issuers))}
	switch {
	case len(c.Issuers) == 0:
		return nil, errors.New("no issuers: no token could be verified")
	case c.Keys == nil:
		return nil, errors.New("no keys: no token could be verified")
	case (c.Acquire == nil) != (c.Release == nil):
		return nil, errors.New("acquire and release come together")
	case c.MaxBytes < 0 || c.MaxBytes > largestMaxBytes:
		return nil, fmt.Errorf("max_token_bytes %d is not from 1 to %d", c.MaxBytes, largestMaxBytes)
	case c.MaxBytes == 0:
		v.c.MaxBytes = defaultMaxBytes
	}
	for _, one := range c.Issuers {
		i, err := compile(one)
		if err != nil {
			return nil, err
		}
		if v.issuers[i.Name] != nil {
			return nil, fmt.Errorf("issuer %q stands twice", i.Name)
		}
		v.issuers[i.Name] = i
		v.domains = v.domains || i.TrustDomain
	}
	if o := &c.Opaque; o.Introspect != nil && (v.issuers[o.Issuer] == nil || o.MaxAge < 0) {
		return nil, fmt.Errorf("opaque tokens are of issuer %q, which is not among the issuers, or are remembered for %v", o.Issuer, o.MaxAge)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %#v", c.Generation, c.Issuers))
	v.config = [16]byte(sum[:16])
	return v, nil
}

// Verify judges a credential at now and fills s. Only reason.OK lets anything on.
func (v *Verifier) Verify(raw string, now time.Time, s *Session) reason.Reason {
	*s = Session{}
	if len(raw) > v.c.MaxBytes {
		return reason.TokenTooLarge
	}
	// Of the whole text: a forged signature on a known payload is another token.
	s.digest = sha256.Sum256(unsafe.Slice(unsafe.StringData(raw), len(raw)))
	if v.c.Opaque.Introspect != nil && !isJWT(raw) {
		return v.opaque(raw, now, s)
	}
	if i, ok := v.remembered(s); ok {
		return s.timely(i, now)
	}
	if v.refused(&s.digest) {
		return reason.SignatureInvalid
	}
	t, err := jose.Parse(raw)
	if err != nil {
		return why(err)
	}
	return v.verify(t, now, s)
}

// verify goes on with a token whose form is right.
func (v *Verifier) verify(t *jose.JWS, now time.Time, s *Session) reason.Reason {
	i, r := v.issuerOf(t.Claims)
	if r != reason.OK {
		return r
	}
	if !slices.Contains(i.Algorithms, t.Alg) {
		return reason.AlgorithmRefused
	}
	set, ok := v.c.Keys.KeySet(i.Name)
	if !ok || set == nil {
		return reason.KeysUnavailable
	}
	key, err := set.Find(t)
	if errors.Is(err, jose.ErrKeyUnknown) {
		v.c.Keys.Wanted(i.Name)
	}
	if err != nil {
		return why(err)
	}
	r = v.signature(key, t)
	if v.c.Verified != nil && r != reason.Overloaded {
		v.c.Verified(i.Name, t.Alg, r == reason.OK)
	}
	switch r {
	case reason.OK:
	case reason.SignatureInvalid:
		v.refuse(&s.digest, i, set)
		return r
	default:
		return r
	}

	s.Issuer, s.KeyID, s.Type = i.Name, key.ID, MediaType(t.Type)
	if r := audience(t.Claims, i.Audiences); r != reason.OK {
		return r
	}
	if !i.accepts(s.Type, t.Claims) {
		return reason.TypeRefused
	}
	if !s.read(i, t.Claims) || !s.complete(t.Claims) {
		return reason.ClaimsInvalid
	}
	// Not of the whole token: (r, n-s) is another text of the same token.
	sum := sha256.Sum256([]byte(t.SigningInput))
	s.name(base64.RawURLEncoding.EncodeToString(sum[:]))
	v.classify(s, t.Claims)
	v.remember(s, set)
	return s.timely(i, now)
}

// issuerOf finds the issuer of a token: that of iss, or the trust domain of a
// JWT-SVID, which may lack iss or have one of its server's own (SPIRE,
// jwt_issuer).
func (v *Verifier) issuerOf(claims *jose.Object) (*issuer, reason.Reason) {
	iss, there := claims.Get("iss")
	name, ok := iss.Text()
	if there && !ok {
		return nil, reason.ClaimsInvalid
	}
	if i := v.issuers[name]; there && i != nil && !i.TrustDomain && !i.Opaque {
		return i, reason.OK
	}
	if v.domains {
		sub, _ := claims.Get("sub")
		if text, _ := sub.Text(); strings.HasPrefix(text, spiffeScheme) {
			return v.workload(text)
		}
	}
	if !there {
		return nil, reason.ClaimsInvalid
	}
	return nil, reason.IssuerUnknown
}

// classify asks once a token which classes it may be of.
func (v *Verifier) classify(s *Session, claims *jose.Object) {
	if v.c.Classify != nil {
		s.Classes = v.c.Classify(s.Type, s, claims)
	}
}

// signature runs one signature check among a bounded number.
func (v *Verifier) signature(key *jose.Key, t *jose.JWS) reason.Reason {
	if v.c.Acquire != nil {
		if !v.c.Acquire() {
			return reason.Overloaded
		}
		defer v.c.Release()
	}
	if err := key.Verify(t); err != nil {
		return why(err)
	}
	return reason.OK
}

// why translates what jose says.
func why(err error) reason.Reason {
	switch {
	case errors.Is(err, jose.ErrMalformed):
		return reason.TokenMalformed
	case errors.Is(err, jose.ErrAlgorithm):
		return reason.AlgorithmRefused
	case errors.Is(err, jose.ErrKeyUnknown):
		return reason.KeyUnknown
	case errors.Is(err, jose.ErrSignature):
		return reason.SignatureInvalid
	}
	return reason.Internal
}

// timely judges a verified session by the clock, with the issuer's skew. It
// runs on every check, also where all else was remembered. A token ends at
// exp+skew: it is no longer good in that very moment (RFC 7519 section 4.1.4).
func (s *Session) timely(i *issuer, now time.Time) reason.Reason {
	late := now.Add(i.Skew)
	switch {
	case s.Issued.After(late):
		return reason.ClaimsInvalid
	case !now.Before(s.Until.Add(i.Skew)):
		return reason.TokenExpired
	case s.NotBefore.After(late):
		return reason.TokenNotYetValid
	}
	return reason.OK
}
