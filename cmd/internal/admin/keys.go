package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// refreshLimit is how long a caller may wait for one refresh of all keys.
const refreshLimit = 20 * time.Second

// refreshed is one line of the answer to POST /v1/keys:refresh.
type refreshed struct {
	Issuer string `json:"issuer"`
	OK     bool   `json:"ok"`
	Error  string `json:"error,omitempty"`
}

// refreshKeys is POST /v1/keys:refresh: of the issuer in the body, or of all.
// A refresh that fails leaves the keys that are there, and answers 502.
func (s *Server) refreshKeys(c *Config, w http.ResponseWriter, r *request) error {
	issuer, err := s.refreshIssuer(w, r)
	if err != nil {
		return err
	}
	if c.RefreshKeys == nil {
		return notFound("there are no keys to refresh")
	}
	ctx, cancel := context.WithTimeout(r.Context(), refreshLimit)
	defer cancel()
	lines, failed := []refreshed{}, false
	for _, k := range c.keys() {
		if issuer != "" && k.Issuer != issuer {
			continue
		}
		line := refreshed{Issuer: k.Issuer, OK: true}
		if err := c.RefreshKeys(ctx, k.Issuer); err != nil {
			line.OK, line.Error, failed = false, err.Error(), true
		}
		lines = append(lines, line)
	}
	if issuer != "" && len(lines) == 0 {
		return invalid("issuer is not the name of a configured issuer")
	}
	s.log.Info("keys refreshed", "issuer", escaped(issuer), "failed", failed, "actor", actor, "peer", r.RemoteAddr)
	status := http.StatusOK
	if failed {
		status = http.StatusBadGateway
	}
	writeJSON(w, status, map[string]any{"items": lines})
	return nil
}

// refreshIssuer reads the body: none, or {"issuer": …}.
func (s *Server) refreshIssuer(w http.ResponseWriter, r *request) (string, error) {
	if r.ContentLength == 0 {
		return "", nil
	}
	body, err := s.readBody(w, r)
	if err != nil {
		return "", err
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return "", nil
	}
	if err := strictJSON(body); err != nil {
		return "", err
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil || members == nil {
		return "", invalid("the body is not an object")
	}
	var issuer string
	for name, value := range members {
		if name != "issuer" || value[0] != '"' || json.Unmarshal(value, &issuer) != nil || issuer == "" {
			return "", invalid("the body takes one member, issuer, a string")
		}
	}
	return issuer, nil
}
