package extauthz

import (
	"time"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
	"github.com/holdfast-authz/holdfast/extauthz/token"
)

// standing asks whether the session has been withdrawn, and whether this
// replica can know. A revocation that is known denies even when the feed is
// stale; without one, a feed that may hold one decides as on_feed_stale says.
func (c *Checker) standing(now, wall time.Time, d *Decision) reason.Reason {
	// The feed is judged before the index is read: what is applied between
	// the two can only deny.
	health := c.Sync.Health(now, c.Policy.feedMaxAge)
	if hit := c.withdrawn(&d.Session, wall); hit != (cache.Hit{}) {
		d.Revoked = hit
		return revokedReason(hit.Kind)
	}
	if health == cache.Fresh {
		return reason.OK
	}
	if d.demand.onFeedStale == StaleAllow {
		d.Detail = "the feed is " + health.String() + "; let through by on_feed_stale"
		return reason.OK
	}
	if health == cache.NotReady {
		return reason.NotReady
	}
	return reason.FeedStale
}

// listed asks the status list that the token names, if it names one.
func (c *Checker) listed(s *token.Session) reason.Reason {
	if s.StatusURI == "" {
		return reason.OK
	}
	if c.Listed == nil {
		return reason.StatusUnavailable
	}
	switch valid, known := c.Listed(s.Issuer, s.StatusURI, s.StatusIndex); {
	case !known:
		return reason.StatusUnavailable
	case !valid:
		return reason.StatusInvalid
	}
	return reason.OK
}

// withdrawn asks the index for the session's names. A token that is bound to
// two keys has two names of that kind.
func (c *Checker) withdrawn(s *token.Session, wall time.Time) cache.Hit {
	at := began(s)
	hit := c.Index.Status(&s.Subject, at, wall)
	if hit == (cache.Hit{}) && s.OtherKey != (cache.Key{}) {
		var other cache.Subject
		other.Set(cache.BindingKey, s.OtherKey)
		hit = c.Index.Status(&other, at, wall)
	}
	return hit
}

// began is when the session began: its auth_time, which a refresh keeps, else
// the token's iat. Nobody logs in after the token that says so was issued: an
// auth_time later than iat is no proof of a new login, and can not pass a
// cut-off.
func began(s *token.Session) time.Time {
	if s.Auth.IsZero() || s.Auth.After(s.Issued) {
		return s.Issued
	}
	return s.Auth
}

func revokedReason(kind cache.Kinds) reason.Reason {
	switch kind {
	case cache.Token, cache.TokenHash:
		return reason.TokenRevoked
	case cache.Session:
		return reason.SessionRevoked
	case cache.User:
		return reason.SubjectRevoked
	case cache.Client:
		return reason.ClientRevoked
	case cache.Tenant:
		return reason.TenantRevoked
	case cache.Issuer:
		return reason.IssuerRevoked
	case cache.SigningKey:
		return reason.SigningKeyRevoked
	case cache.BindingKey:
		return reason.BindingKeyRevoked
	case cache.Device:
		return reason.DeviceRevoked
	}
	return reason.Internal
}
