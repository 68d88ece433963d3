package registry

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/oci"
	"github.com/cairn-network/cairn/service/role"
)

// Serve serves the registry until ctx ends. Account says whose a request is.
func (r *Registry) Serve(ctx context.Context, l net.Listener, account func(*http.Request) (types.Account, error)) error {
	s := &http.Server{
		Handler: r.Handler(account), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(r.log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("registry: %w", err)
	}
	return nil
}

// Handler is the registry's API.
func (r *Registry) Handler(account func(*http.Request) (types.Account, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if err := r.serve(w, q, account); err != nil {
			fail(w, err)
		}
	})
}

// codes are the specification's words for our reasons.
var codes = map[types.Reason]string{
	role.NoKey: "UNAUTHORIZED", types.UnknownKey: "UNAUTHORIZED", compute.NoImage: "MANIFEST_UNKNOWN", compute.InputMissing: "BLOB_UNKNOWN",
	compute.DigestMismatch: "DIGEST_INVALID", compute.BadImage: "MANIFEST_INVALID", compute.TooLarge: "SIZE_INVALID", types.OverQuota: "DENIED",
	types.DiskFull: "DENIED", role.Busy: "TOOMANYREQUESTS", role.NotFound: "UNSUPPORTED", role.BadRequest: "BLOB_UPLOAD_INVALID",
}

// fail answers as the specification says errors are answered, with the coded reason as detail.
func fail(w http.ResponseWriter, err error) {
	reason := types.ReasonOf(err)
	if reason == "" {
		reason = role.Internal
	}
	info := role.Info(reason, compute.New().Spec.Reasons...)
	code := codes[reason]
	if code == "" {
		code = "UNKNOWN"
	}
	if info.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="cairn: any name, and an API key as the password"`)
	}
	type problem struct {
		Code    string            `json:"code"`
		Message string            `json:"message"`
		Detail  map[string]string `json:"detail"`
	}
	_ = role.Reply(w, info.Status, map[string][]problem{"errors": {{code, err.Error(), map[string]string{"reason": string(reason), "try": info.Try}}}})
}

var (
	paths   = regexp.MustCompile(`^/v2/(.+)/(blobs|manifests|tags)/(.*)$`)
	session = regexp.MustCompile(`^uploads/([0-9a-f]{32})$`)
)

// bearer is a request with the password of Basic as its API key.
func bearer(q *http.Request) *http.Request {
	if _, password, ok := q.BasicAuth(); ok {
		q = q.Clone(q.Context())
		q.Header.Set("Authorization", "Bearer "+password)
	}
	return q
}

func (r *Registry) serve(w http.ResponseWriter, q *http.Request, account func(*http.Request) (types.Account, error)) error {
	a, err := account(bearer(q))
	if err != nil {
		return err
	}
	switch q.URL.Path {
	case "/v2/", "/v2":
		return role.Reply(w, http.StatusOK, struct{}{})
	case "/v2/_catalog":
		return role.Reply(w, http.StatusOK, map[string][]string{"repositories": r.tags(a, "")})
	}
	m := paths.FindStringSubmatch(q.URL.Path)
	if m == nil {
		return types.Refuse(role.NotFound, "registry: no such path: %.100q", q.URL.Path)
	}
	name, kind, what := m[1], m[2], m[3]
	if len(name) > maxName || !validName.MatchString(name) {
		return types.Refuse(compute.NoImage, "registry: image name %.200q", name)
	}
	get := q.Method == http.MethodGet || q.Method == http.MethodHead
	switch {
	case kind == "tags" && what == "list" && get:
		list := r.tags(a, name)
		if len(list) == 0 {
			return types.Refuse(compute.NoImage, "registry: the account has no image %s", name)
		}
		return role.Reply(w, http.StatusOK, map[string]any{"name": name, "tags": list})
	case kind == "manifests" && get:
		return r.getManifest(w, q, a, name, what)
	case kind == "manifests" && q.Method == http.MethodPut:
		return r.putManifest(w, q, a, name, what)
	case kind == "manifests" && q.Method == http.MethodDelete:
		return r.deleteManifest(w, a, name, what)
	case kind == "blobs" && digest.MatchString(what) && get:
		return r.getBlob(w, q, a, what)
	case kind == "blobs" && (what == "uploads/" || what == "uploads") && q.Method == http.MethodPost:
		return r.begin(w, q, a, name)
	}
	if id := session.FindStringSubmatch(what); kind == "blobs" && id != nil {
		return r.upload(w, q, a, name, id[1])
	}
	return types.Refuse(role.NotFound, "registry: %s of %.100q", q.Method, q.URL.Path)
}

func (r *Registry) getManifest(w http.ResponseWriter, q *http.Request, a types.Account, name, tag string) error {
	img, err := r.get(a, name, tag)
	if err != nil {
		return err
	}
	f, n, err := r.read(a, img.Manifest)
	if err != nil {
		return err
	}
	defer f.Close() // only read
	return send(w, q, f, n, img.Manifest, img.Type)
}

func (r *Registry) getBlob(w http.ResponseWriter, q *http.Request, a types.Account, text string) error {
	h, err := types.ParseHash(strings.TrimPrefix(text, "sha256:"))
	if err != nil {
		return types.Refuse(compute.InputMissing, "registry: %.100q", text)
	}
	f, n, err := r.read(a, h)
	if err != nil {
		return err
	}
	defer f.Close() // only read
	return send(w, q, f, n, h, "application/octet-stream")
}

// patience is how long a client may take for each part of what it is sent.
const patience = 30 * time.Second

func send(w http.ResponseWriter, q *http.Request, f io.Reader, n uint64, h types.Hash, kind string) error {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.FormatUint(n, 10))
	w.Header().Set("Docker-Content-Digest", "sha256:"+h.String())
	w.WriteHeader(http.StatusOK)
	if q.Method == http.MethodHead {
		return nil
	}
	control, buf := http.NewResponseController(w), make([]byte, 256<<10)
	for {
		m, err := f.Read(buf)
		if m > 0 {
			_ = control.SetWriteDeadline(time.Now().Add(patience)) // what can't is no connection
			if _, err := w.Write(buf[:m]); err != nil {
				return nil // whoever asked is gone
			}
		}
		if err != nil {
			return nil
		}
	}
}

func (r *Registry) putManifest(w http.ResponseWriter, q *http.Request, a types.Account, name, tag string) error {
	raw, err := io.ReadAll(&timed{http.NewResponseController(w), q.Body, r.cfg.Silence, time.Now().Add(looseFor), oci.MaxManifest + 1})
	switch {
	case err != nil:
		return types.Refuse(role.BadRequest, "registry: the manifest broke off: %v", err)
	case len(raw) > oci.MaxManifest:
		return types.Refuse(compute.TooLarge, "registry: a manifest of more than %d bytes", oci.MaxManifest)
	}
	kind := q.Header.Get("Content-Type")
	if !strings.HasPrefix(kind, "application/vnd.") || len(kind) > 128 {
		return types.Refuse(compute.BadImage, "registry: a manifest of type %.100q", kind)
	}
	h, err := r.put(a, name, tag, kind, raw)
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/v2/"+name+"/manifests/sha256:"+h.String())
	w.Header().Set("Docker-Content-Digest", "sha256:"+h.String())
	w.WriteHeader(http.StatusCreated)
	return nil
}

// deleteManifest forgets a tag; by digest, all tags of the name that stand for it.
func (r *Registry) deleteManifest(w http.ResponseWriter, a types.Account, name, tag string) error {
	k, err := key(name, tag)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	gone := 0
	for other, img := range r.images[a] {
		byDigest := strings.HasPrefix(other, name+":") || strings.HasPrefix(other, name+"@")
		if other == k || byDigest && tag == "sha256:"+img.Manifest.String() {
			if err := r.drop(a, other); err != nil {
				return err
			}
			gone++
		}
	}
	if gone == 0 {
		return types.Refuse(compute.NoImage, "registry: the account has no image %s", k)
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// begin begins an upload; with a digest, the body is all of it.
func (r *Registry) begin(w http.ResponseWriter, q *http.Request, a types.Account, name string) error {
	if m := q.URL.Query().Get("mount"); digest.MatchString(m) { // from another name of the account
		if h, err := types.ParseHash(strings.TrimPrefix(m, "sha256:")); err == nil {
			r.mu.Lock()
			_, ok := r.has(a, h)
			r.mu.Unlock()
			if ok {
				return created(w, name, h)
			}
		}
	}
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // never fails
	id := hex.EncodeToString(raw[:])
	r.mu.Lock()
	own := 0
	for _, u := range r.uploads {
		if u.account == a {
			own++
		}
	}
	if len(r.uploads) >= r.cfg.Uploads || own >= max(1, r.cfg.Uploads/8) {
		r.mu.Unlock()
		return types.Refuse(role.Busy, "registry: %d uploads are going on, %d of this account", len(r.uploads), own)
	}
	r.uploads[id] = &upload{account: a, path: filepath.Join(r.dir, id), at: time.Now()}
	r.mu.Unlock()
	if q.URL.Query().Get("digest") != "" {
		return r.upload(w, q, a, name, id)
	}
	accepted(w, name, id, 0)
	return nil
}

func accepted(w http.ResponseWriter, name, id string, size uint64) {
	w.Header().Set("Location", "/v2/"+name+"/blobs/uploads/"+id)
	w.Header().Set("Docker-Upload-UUID", id)
	w.Header().Set("Range", fmt.Sprintf("0-%d", size-min(size, 1)))
	w.WriteHeader(http.StatusAccepted)
}

func created(w http.ResponseWriter, name string, h types.Hash) error {
	w.Header().Set("Location", "/v2/"+name+"/blobs/sha256:"+h.String())
	w.Header().Set("Docker-Content-Digest", "sha256:"+h.String())
	w.WriteHeader(http.StatusCreated)
	return nil
}

// upload goes on with an upload, ends it, or gives it up.
func (r *Registry) upload(w http.ResponseWriter, q *http.Request, a types.Account, name, id string) (err error) {
	r.mu.Lock()
	u := r.uploads[id]
	if u == nil || u.account != a {
		r.mu.Unlock()
		return types.Refuse(compute.InputMissing, "registry: there is no such upload")
	}
	if u.busy {
		r.mu.Unlock()
		return types.Refuse(role.Busy, "registry: the upload is being written")
	}
	u.busy = true
	r.mu.Unlock()
	over := q.Method == http.MethodDelete || q.URL.Query().Get("digest") != ""
	defer func() {
		if over = over || err != nil; over {
			_ = os.Remove(u.path) // may not be there
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		u.busy, u.at = false, time.Now()
		if over {
			delete(r.uploads, id)
		}
	}()
	switch q.Method {
	case http.MethodDelete:
		w.WriteHeader(http.StatusNoContent)
		return nil
	case http.MethodGet:
		w.Header().Set("Location", q.URL.Path)
		w.Header().Set("Range", fmt.Sprintf("0-%d", u.size-min(u.size, 1)))
		w.WriteHeader(http.StatusNoContent)
		return nil
	case http.MethodPatch, http.MethodPut, http.MethodPost:
	default:
		return types.Refuse(role.NotFound, "registry: %s of an upload", q.Method)
	}
	if from, _, ok := strings.Cut(strings.TrimPrefix(q.Header.Get("Content-Range"), "bytes "), "-"); ok {
		if n, err := strconv.ParseUint(from, 10, 63); err != nil || n != u.size {
			w.Header().Set("Range", fmt.Sprintf("0-%d", u.size-min(u.size, 1)))
			return types.Refuse(role.BadRequest, "registry: a part from byte %.20s, %d are here", from, u.size)
		}
	}
	if err := r.take(w, q, u); err != nil {
		return err
	}
	if !over {
		accepted(w, name, id, u.size)
		return nil
	}
	return r.end(w, q, u, name)
}

// step is for how many bytes room is made at a time.
const step = 1 << 20

// take writes what a request brings of an upload.
func (r *Registry) take(w http.ResponseWriter, q *http.Request, u *upload) error {
	f, err := os.OpenFile(u.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return types.Refuse(types.HomeUnwritable, "registry: %v", err)
	}
	defer f.Close() // closed below where it matters
	if q.ContentLength > 0 && u.size+uint64(q.ContentLength) > compute.MaxInputs {
		return types.Refuse(compute.TooLarge, "registry: a blob of %d bytes, at most %d", u.size+uint64(q.ContentLength), compute.MaxInputs)
	}
	in := &timed{http.NewResponseController(w), q.Body, r.cfg.Silence, time.Now().Add(looseFor), 1 << 62}
	came := int64(0)
	for {
		r.mu.Lock()
		err := r.room(u.account, step)
		r.mu.Unlock()
		if err != nil {
			return err
		}
		n, err := io.CopyN(f, in, step)
		came += n
		r.mu.Lock()
		u.size += uint64(n)
		size := u.size
		r.mu.Unlock()
		switch {
		case size > compute.MaxInputs:
			return types.Refuse(compute.TooLarge, "registry: a blob of more than %d bytes", compute.MaxInputs)
		case errors.Is(err, io.EOF):
			if q.ContentLength > 0 && came != q.ContentLength {
				return types.Refuse(role.BadRequest, "registry: %d bytes came of %d", came, q.ContentLength)
			}
			return f.Close()
		case err != nil:
			return types.Refuse(role.BadRequest, "registry: the upload broke off: %v", err)
		}
	}
}

// end keeps a blob that is whole.
func (r *Registry) end(w http.ResponseWriter, q *http.Request, u *upload, name string) error {
	text := q.URL.Query().Get("digest")
	if !digest.MatchString(text) {
		return types.Refuse(compute.DigestMismatch, "registry: digest %.100q: want sha256", text)
	}
	f, err := os.Open(u.path)
	if err != nil {
		return types.Refuse(types.HomeUnwritable, "registry: %v", err)
	}
	h, n, err := r.inputs.Add(f, compute.MaxInputs)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if text != "sha256:"+h.String() || n == 0 {
		r.inputs.Unpin(h)
		return types.Refuse(compute.DigestMismatch, "registry: what came is sha256:%v, not %s", h, text)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.loose[u.account] == nil {
		r.loose[u.account] = map[types.Hash]*blob{}
	}
	if r.loose[u.account][h] != nil {
		r.inputs.Unpin(h)
	}
	r.loose[u.account][h] = &blob{size: n, at: time.Now()}
	return created(w, name, h)
}

// timed reads a body whose sender may say nothing for so long, and has to be done by some time.
type timed struct {
	control *http.ResponseController
	r       io.Reader
	silence time.Duration
	until   time.Time
	left    int64
}

func (t *timed) Read(p []byte) (int, error) {
	if t.left <= 0 {
		return 0, io.EOF
	}
	at := time.Now().Add(t.silence)
	if at.After(t.until) {
		at = t.until
	}
	_ = t.control.SetReadDeadline(at) // what can't is no connection
	n, err := t.r.Read(p[:min(int64(len(p)), t.left)])
	t.left -= int64(n)
	if err == nil || errors.Is(err, io.EOF) { // after another one nothing more is to be waited for
		_ = t.control.SetReadDeadline(time.Time{})
	}
	return n, err
}
