package customer

import (
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/customer/pipeline"
)

// Object is what the REST API says of an object.
type Object struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Bytes   uint64    `json:"bytes"`
	Shards  int       `json:"shards"` // all that the devices hold of it
	Profile string    `json:"profile"`
	Created time.Time `json:"created"`
	Type    string    `json:"content_type,omitempty"` // what it was stored as
	// Damaged says that the gateway's record of it cannot be read: it can be deleted, and nothing else.
	Damaged bool `json:"damaged,omitempty"`
}

// Price is what storing and reading costs now, on the devices that an object would be stored on now. A session
// keeps the price that it was opened at; devices that repair brings in later may ask another.
type Price struct {
	Profile string       `json:"profile"`
	Bytes   uint64       `json:"bytes"`
	Epoch   types.Credit `json:"per_epoch,string"`    // micro-credits for each epoch that the object is held
	Read    types.Credit `json:"per_read,string"`     // for each time it is read whole, from the cheapest of them
	ReadMax types.Credit `json:"per_read_max,string"` // the same from the dearest, when the others are away
}

func (c *Customer) routes() []role.Route {
	return []role.Route{
		{Method: "PUT", Path: "/objects", Summary: "Store the body as an object", Query: []string{"name", "profile"}, Status: http.StatusCreated, In: []byte(nil), Out: Object{}, Serve: c.servePut},
		{Method: "GET", Path: "/objects", Summary: "List the account's objects", Out: []Object(nil), Serve: c.serveList},
		{Method: "GET", Path: "/objects/{id}", Summary: "Read an object, or the ranges of it that the Range header names (then 206); conditions and HEAD as RFC 9110 says", Out: []byte(nil), Serve: c.serveGet},
		{Method: "DELETE", Path: "/objects/{id}", Summary: "Forget an object and let its shards go", Out: Deleted{}, Serve: c.serveDelete},
		{Method: "GET", Path: "/objects/{id}/placement", Summary: "Which device has which slot of an object's segments", Out: []Placement(nil), Serve: c.servePlacement},
		{Method: "GET", Path: "/objects/{id}/recovery", Summary: "What another gateway needs to read an object for the same account: secret, as whoever has it and a key of the account can read it", Out: []byte(nil), Serve: c.serveRecovery},
		{Method: "PUT", Path: "/objects/{id}/recovery", Summary: "Have this gateway read an object that another one stored for the same account", In: []byte(nil), Out: Object{}, Serve: c.serveRecover},
		{Method: "GET", Path: "/price", Summary: "What storing and reading so many bytes would cost, on the devices that would be chosen now", Query: []string{"profile", "bytes"}, Out: Price{}, Serve: c.servePrice},
	}
}

func (c *Customer) servePut(w http.ResponseWriter, r *http.Request, wallet role.Wallet) error {
	p, err := profileOf(r)
	if err != nil {
		return err
	}
	a, err := c.account(wallet)
	if err != nil {
		return err
	}
	as := about{name: role.Query(r, "name"), kind: kindOf(r), size: r.ContentLength}
	if err := role.CheckText("name", as.name, maxName); err != nil {
		return err
	}
	if r.Header.Get("Content-Range") != "" { // RFC 9110 §14.5: what is a part would be taken for the whole
		return types.Refuse(role.BadRequest, "an upload with Content-Range: send the whole object")
	}
	end, err := c.begin(wallet)
	if err != nil {
		return err
	}
	defer end()
	id, o, err := a.put(r.Context(), sent{r.Body}, as, p)
	if err != nil {
		return err
	}
	return role.Reply(w, http.StatusCreated, c.describe(a, id, o))
}

// sent is the body of a request. That it cannot be read to its end is its sender's doing.
type sent struct{ body io.Reader }

func (s sent) Read(p []byte) (int, error) {
	n, err := s.body.Read(p)
	if err != nil && err != io.EOF && types.ReasonOf(err) == "" {
		err = types.Refuse(storage.Truncated, "%v", err)
	}
	return n, err
}

// kindOf is the content type that an object is stored as and given back as: the request's, if it is one.
func kindOf(r *http.Request) string {
	text := r.Header.Get("Content-Type")
	if _, _, err := mime.ParseMediaType(text); err != nil || role.CheckText("content type", text, maxType) != nil {
		return ""
	}
	return text
}

// describe counts the shards that are held.
func (c *Customer) describe(a *account, id ObjectID, o *object) Object {
	if o == nil {
		return Object{ID: id.String(), Damaged: true}
	}
	shards := 0
	m, err := a.books.shape(id)
	if err == nil {
		for i := range m.Segments {
			for slot := range o.Devices {
				if !o.absent(i, slot) {
					shards++
				}
			}
		}
	}
	return Object{ID: id.String(), Name: o.Name, Bytes: o.Bytes, Shards: shards, Profile: o.Profile, Created: time.Unix(int64(o.Created), 0).UTC(), Type: o.Type, Damaged: err != nil}
}

func (c *Customer) serveList(w http.ResponseWriter, _ *http.Request, wallet role.Wallet) error {
	a, err := c.account(wallet)
	if err != nil {
		return err
	}
	list := []Object{}
	err = a.books.objects(func(id ObjectID, o *object) error {
		list = append(list, c.describe(a, id, o))
		return nil
	})
	if err != nil {
		return err
	}
	return role.Reply(w, http.StatusOK, list)
}

func (c *Customer) serveDelete(w http.ResponseWriter, r *http.Request, wallet role.Wallet) error {
	a, id, o, err := c.find(wallet, r.PathValue("id"))
	switch {
	case err == nil && !allowed(r, id, o):
		err = types.Refuse(role.Precondition, "object %v", id)
	case err == nil:
		if err = a.delete(r.Context(), id, o); types.ReasonOf(err) == storage.BadRecord {
			err = c.forget(r.Context(), wallet, id)
		}
	case types.ReasonOf(err) == storage.BadRecord:
		err = c.forget(r.Context(), wallet, id)
	}
	if err != nil {
		return err
	}
	return role.Reply(w, http.StatusOK, Deleted{ID: id.String(), Deleted: true})
}

// Deleted says that an object is gone.
type Deleted struct {
	ID      string `json:"id"`
	Deleted bool   `json:"deleted"`
}

// Placement says which device has a slot of an object's segments.
type Placement struct {
	Slot   int       `json:"slot"`
	Device types.Key `json:"device"`
	Shards int       `json:"shards"`
	Absent int       `json:"absent"`
}

func (c *Customer) servePlacement(w http.ResponseWriter, r *http.Request, wallet role.Wallet) error {
	a, id, o, err := c.find(wallet, r.PathValue("id"))
	if err != nil {
		return err
	}
	m, err := a.books.shape(id)
	if err != nil {
		return err
	}
	list := make([]Placement, len(o.Devices))
	for slot, key := range o.Devices {
		list[slot] = Placement{Slot: slot, Device: key}
		for i := range m.Segments {
			if o.absent(i, slot) {
				list[slot].Absent++
			} else {
				list[slot].Shards++
			}
		}
	}
	return role.Reply(w, http.StatusOK, list)
}

func (c *Customer) servePrice(w http.ResponseWriter, r *http.Request, _ role.Wallet) error {
	p, err := profileOf(r)
	if err != nil {
		return err
	}
	size, err := strconv.ParseUint(role.Query(r, "bytes"), 10, 48)
	if err != nil {
		return types.Refuse(role.BadRequest, "bytes %.40q: want a number below 2^48", role.Query(r, "bytes"))
	}
	hold, passed, err := c.market.Offers(r.Context(), role.Want{Class: storage.Hold})
	if err != nil {
		return err
	}
	egress, _, err := c.market.Offers(r.Context(), role.Want{Class: storage.Egress})
	if err != nil {
		return err
	}
	price, err := quote(p, size, hold, egress, len(passed))
	if err != nil {
		return err
	}
	return role.Reply(w, http.StatusOK, price)
}

// quote is what size bytes cost on the devices that choose picks.
func quote(p pipeline.Profile, size uint64, hold, egress []role.Offer, passed int) (*Price, error) {
	chosen, err := choose(p, hold, passed)
	if err != nil {
		return nil, err
	}
	price := &Price{Profile: p.Name, Bytes: size}
	shard := (size + uint64(p.K) - 1) / uint64(p.K) // each of them holds so much
	var reads []types.Credit
	for _, o := range chosen {
		amount, err := storage.Amount(types.U64(shard), o.Ask.Ask.Price)
		if err != nil {
			return nil, err
		}
		price.Epoch += amount
		at := slices.IndexFunc(egress, func(e role.Offer) bool { return e.Ask.Ask.Device == o.Ask.Ask.Device })
		if at < 0 {
			continue // it offers no reading now
		}
		if amount, err = storage.Amount(types.U64(shard), egress[at].Ask.Ask.Price); err != nil {
			return nil, err
		}
		reads = append(reads, amount)
	}
	slices.Sort(reads)
	for i := range min(p.K, len(reads)) {
		price.Read += reads[i]
		price.ReadMax += reads[len(reads)-1-i]
	}
	return price, nil
}

// profileOf returns the profile that a request names, or lab.
func profileOf(r *http.Request) (pipeline.Profile, error) {
	name := role.Query(r, "profile")
	if name == "" {
		return pipeline.Lab, nil
	}
	p, ok := profiles[name]
	if !ok {
		return p, types.Refuse(storage.NoProfile, "profile %.40q", name)
	}
	return p, nil
}
