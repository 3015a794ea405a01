package proof

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-authz/holdfast/cache/jose"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
	"github.com/holdfast-authz/holdfast/extauthz/token"
)

// Limits of a proof. One by the largest RSA key, with a long URI, has 3 KiB.
const (
	maxProofBytes = 8 << 10
	maxJTIBytes   = 256 // RFC 9449, 11.1 asks for a bound
	typeDPoP      = "dpop+jwt"

	defaultMaxAge = time.Minute // RFC 9449, 11.1: seconds or minutes
)

// DPoPAlgorithms is the value of a challenge's algs (RFC 9449, 7.1). EdDSA and
// Ed25519 (RFC 9864) are two names of one; clients look for either.
const DPoPAlgorithms = "ES256 ES384 EdDSA Ed25519 PS256 RS256"

// proofAlgorithms are the same, in jose's spelling.
var proofAlgorithms = [...]string{"ES256", "ES384", "EdDSA", "PS256", "RS256"}

// DPoPConfig says which proofs hold.
type DPoPConfig struct {
	// MaxAge is how long ago a proof may have been made; default one minute.
	// Longer makes the replay table larger and a stolen proof last longer.
	MaxAge time.Duration

	// FutureSkew is how far the client's clock may be ahead; zero is not at all.
	FutureSkew time.Duration

	// Origins are the public scheme://host[:port] that htu may name. None:
	// scheme and authority of the request, which are right only where no
	// proxy in front changes them.
	Origins []string

	// NonceRequired asks for a nonce of ours in each proof. Its time then
	// stands for iat (RFC 9449, 4.3 check 11), and MaxAge and FutureSkew are
	// not looked at: clients with a wrong clock are served.
	NonceRequired bool

	// Acquire lets one more signature check run, or says that too many do;
	// Release ends it. Both or none.
	Acquire func() bool
	Release func()
}

// DPoPChecker checks DPoP proofs (RFC 9449). It does not change; any goroutine
// may use it.
type DPoPChecker struct {
	c       DPoPConfig
	origins origins
}

// NewDPoP makes a checker, or says what is wrong with the configuration.
func NewDPoP(c DPoPConfig) (*DPoPChecker, error) {
	switch {
	case c.MaxAge < 0 || c.FutureSkew < 0:
		return nil, fmt.Errorf("max_age %v and future_skew %v may not be negative", c.MaxAge, c.FutureSkew)
	case (c.Acquire == nil) != (c.Release == nil):
		return nil, errors.New("acquire and release come together")
	case c.MaxAge == 0:
		c.MaxAge = defaultMaxAge
	}
	d := &DPoPChecker{c: c}
	for _, text := range c.Origins {
		o, err := parseOrigin(text)
		if err != nil {
			return nil, err
		}
		d.origins = append(d.origins, o)
	}
	return d, nil
}

// Window is the longest that a proof which holds now has until Expires.
func (d *DPoPChecker) Window() time.Duration {
	if d.c.NonceRequired {
		return (lifeSteps+2)*nonceStep + d.c.FutureSkew + clockGrain
	}
	return d.c.MaxAge + 2*d.c.FutureSkew + clockGrain
}

// Proof is a proof that held.
type Proof struct {
	JKT      string // RFC 7638 thumbprint of its key
	JTI      string
	IssuedAt time.Time // iat: the client's word

	// ReplayKey names the proof: a digest of JKT and JTI, so that no client
	// can use up another one's jti. Whoever accepts the proof records the key
	// first, and keeps it until Expires: after that, at every replica whose
	// clock is no more than FutureSkew behind, the proof is too old.
	ReplayKey [16]byte
	Expires   time.Time
}

// clockGrain covers that an age of exactly MaxAge still holds, and that a
// replay table may forget an entry in the very moment that it names.
const clockGrain = time.Second

// Check judges one DPoP header field for a request with this method, scheme,
// host (authority) and path, whose access token is sent with it. jkt is the
// thumbprint that the token is bound to; "" takes a proof by any key, for a
// token that is bound in another way. nonces may be nil where none are asked
// for. Only reason.OK lets anything on, and the caller still has to see that
// out.ReplayKey is new; out is empty after any other reason.
//
// The order is that of the costs: form, then what the request says, then time
// and nonce, all from text alone; at last the one signature. The thumbprint is
// compared after it, so that only a caller who holds a key learns that it is
// another one (binding_mismatch), and a forger, whatever jwk he shows, reads
// dpop_invalid. Comparing it earlier would spare nothing: whoever wants a
// signature checked can show the jwk of the client. What a caller can learn
// without any key is how his own text differs from his own request.
//
// Wrong: dpop_invalid is a proof that is none (form, typ, alg, jwk, a claim
// of the wrong type, no iat, no or too long a jti, signature); dpop_mismatch
// one for something else, or that does not say (htm, htu, ath); dpop_expired
// one whose iat is too old, or ahead by more than FutureSkew.
func (d *DPoPChecker) Check(proof, method, scheme, host, path, accessToken, jkt string, now time.Time, nonces *Nonces, out *Proof) reason.Reason {
	*out = Proof{}
	if len(proof) > maxProofBytes {
		return reason.DPoPInvalid
	}
	// Two fields that were joined fail here: a comma is no base64url.
	t, err := jose.Parse(proof)
	if err != nil || token.MediaType(t.Type) != typeDPoP || !slices.Contains(proofAlgorithms[:], t.Alg) {
		return reason.DPoPInvalid
	}
	key, isKey := proofKey(t)
	c, isProof := readProof(t.Claims)
	if !isKey || !isProof {
		return reason.DPoPInvalid
	}
	if c.htm != method || !d.origins.name(c.htu, scheme, host, path) || !covers(c.ath, accessToken) {
		return reason.DPoPMismatch
	}
	expires, r := d.timely(&c, now, nonces)
	if r != reason.OK {
		return r
	}
	if r := d.signature(&key, t); r != reason.OK {
		return r
	}
	thumbprint := jose.Thumbprint(key.Public)
	if jkt != "" && subtle.ConstantTimeCompare([]byte(thumbprint), []byte(jkt)) != 1 {
		return reason.BindingMismatch
	}
	*out = Proof{JKT: thumbprint, JTI: c.jti, IssuedAt: c.iat, Expires: expires, ReplayKey: replayKey(thumbprint, c.jti)}
	return reason.OK
}

// proofClaims are the claims of RFC 9449, 4.2.
type proofClaims struct {
	jti, htm, htu, ath, nonce string
	iat                       time.Time
}

func readProof(claims *jose.Object) (c proofClaims, ok bool) {
	for _, member := range [...]struct {
		name string
		into *string
	}{{"jti", &c.jti}, {"htm", &c.htm}, {"htu", &c.htu}, {"ath", &c.ath}, {"nonce", &c.nonce}} {
		v, there := claims.Get(member.name)
		if !there {
			continue
		}
		if *member.into, ok = v.Text(); !ok {
			return c, false
		}
	}
	if c.jti == "" || len(c.jti) > maxJTIBytes {
		return c, false
	}
	iat, _ := claims.Get("iat")
	c.iat, ok = iat.NumericDate()
	return c, ok
}

// covers compares ath with the access token as it was sent (RFC 9449, 4.3
// check 12). Without a token there is nothing that a proof could stand beside.
func covers(ath, accessToken string) bool {
	if accessToken == "" {
		return false
	}
	sum := sha256.Sum256([]byte(accessToken))
	var want [43]byte
	base64.RawURLEncoding.Encode(want[:], sum[:])
	return subtle.ConstantTimeCompare([]byte(ath), want[:]) == 1
}

// timely judges when the proof was made: by iat, or by its nonce where one is
// asked for. expires is when it will be too old everywhere.
func (d *DPoPChecker) timely(c *proofClaims, now time.Time, nonces *Nonces) (expires time.Time, r reason.Reason) {
	if d.c.NonceRequired {
		if !nonces.Ready() {
			return time.Time{}, reason.NotReady
		}
		end, ok := nonces.accept(c.nonce, now)
		if !ok {
			return time.Time{}, reason.DPoPNonceRequired
		}
		return end.Add(d.c.FutureSkew + clockGrain), reason.OK
	}
	if age := now.Sub(c.iat); age > d.c.MaxAge || age < -d.c.FutureSkew {
		return time.Time{}, reason.DPoPExpired
	}
	// From iat and not from now: a proof dated ahead lives longer.
	return c.iat.Add(d.c.MaxAge + d.c.FutureSkew + clockGrain), reason.OK
}

// proofKey reads the header's jwk: public, of a known type, of full length, on
// its curve. That it fits alg is seen when it verifies.
func proofKey(t *jose.JWS) (jose.Key, bool) {
	v, _ := t.Header.Get("jwk")
	jwk, ok := v.Object()
	if !ok {
		return jose.Key{}, false
	}
	key, err := jose.ParseKey(jwk)
	return key, err == nil
}

// signature runs one signature check among a bounded number.
func (d *DPoPChecker) signature(key *jose.Key, t *jose.JWS) reason.Reason {
	if d.c.Acquire != nil {
		if !d.c.Acquire() {
			return reason.Overloaded
		}
		defer d.c.Release()
	}
	if key.Verify(t) != nil {
		return reason.DPoPInvalid
	}
	return reason.OK
}

// replayKey digests jkt and jti; a thumbprint has one length, so the two can
// not be confused. Every replica makes the same of the same.
func replayKey(jkt, jti string) [16]byte {
	var space [12 + 43 + maxJTIBytes]byte
	text := append(space[:0], "dpop replay\x00"...)
	text = append(append(text, jkt...), jti...)
	sum := sha256.Sum256(text)
	return [16]byte(sum[:16])
}
