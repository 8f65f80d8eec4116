package fetch

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tollbridge/tollbridge/schemas"
)

// walleeList lists the transactions and the refunds of the space, the newest first, in
// their present state. An item is the webhook of that state: the ids of its events are made
// of the entity. wallee selects by a query language that tollbridge does not use, because
// its form is not published for all fields. The list is therefore read in the order of
// creation, and goes back [walleeBefore] further than the time range: a transaction may
// change its state days after it was created.
//
// https://github.com/wallee-payment/typescript-sdk, src/apis/TransactionsService.ts, RefundsService.ts
var walleeList = List{
	Docs:       "https://app-wallee.com/en-us/doc/api/web-service",
	Kind:       ListStates,
	Keys:       "the authentication key of an application user that may only read transactions and refunds in the space; the setting space_id must be set",
	Redelivers: 24 * time.Hour, // wallee publishes no limit
	Note:       "the present states are listed; one that was created more than 14 days before --from is not seen",
	Publish:    true,
	parts: []part{
		walleePart("transactions", "Transaction", "transaction", map[string]string{
			"CONFIRMED": "confirmedOn", "PROCESSING": "processingOn", "AUTHORIZED": "authorizedOn", "COMPLETED": "completedOn",
			"FULFILL": "completedOn", "DECLINE": "completedOn", "FAILED": "failedOn", "VOIDED": "failedOn",
		}),
		walleePart("refunds", "Refund", "refund", map[string]string{
			"PENDING": "createdOn", "SCHEDULED": "createdOn", "MANUAL_CHECK": "createdOn", "SUCCESSFUL": "succeededOn", "FAILED": "failedOn",
		}),
	},
}

const (
	walleePage = 100
	// walleeBefore is how long before the time range the listed transactions may have been
	// created.
	walleeBefore = 14 * 24 * time.Hour
)

// walleePart is the list of one kind of entities, with the field that has the time of each
// state.
func walleePart(path, entity, name string, states map[string]string) part {
	return part{
		name: path,
		request: func(q ListQuery, cursor string) (Request, error) {
			space := q.Settings["space_id"]
			if !decimalID.MatchString(space) {
				return Request{}, errors.New("the setting space_id is not set: wallee lists the transactions of one space")
			}
			r := walleeRequest(path, "/payment/"+path+"/search", space)
			r.Query = url.Values{"order": {"createdOn:DESC"}, "limit": {strconv.Itoa(walleePage)}, "offset": {cmp.Or(cursor, "0")}}
			return r, nil
		},
		read: func(q ListQuery, a Answer) (items []Item, next string, err error) {
			all, err := walleeEntities(a.Body)
			if err != nil {
				return nil, "", err
			}
			var created time.Time
			for _, raw := range all {
				var o object
				if err := decode(raw, &o); err != nil {
					return nil, "", err
				}
				if created, err = timeOf(o.text("createdOn")); err != nil {
					return nil, "", err
				}
				i, err := walleeItem(q, entity, name, states[o.text("state")], o, raw)
				if err != nil {
					return nil, "", err
				}
				items = append(items, i)
			}
			if len(all) > 0 && created.After(q.From.Add(-walleeBefore)) {
				offset, _ := strconv.Atoi(a.Query.Get("offset"))
				next = strconv.Itoa(offset + len(all))
			}
			return items, next, nil
		},
	}
}

// walleeEntities returns the entities of a page, which is an array or has one in the field
// data.
func walleeEntities(body []byte) (all []jsontext.Value, err error) {
	if jsontext.Value(body).Kind() == '[' {
		err = decode(body, &all)
		return all, err
	}
	var page struct {
		Data []jsontext.Value `json:"data"`
	}
	err = decode(body, &page)
	return page.Data, err
}

// walleeItem returns the item of an entity. at is the field with the time of its state;
// empty if the state has no event.
func walleeItem(q ListQuery, entity, name, at string, o object, body []byte) (Item, error) {
	id, state := o.text("id"), o.text("state")
	t, err := timeOf(cmp.Or(o.text(at), o.text("createdOn")))
	i := Item{ID: id, Type: entity + " " + state, Time: t.UTC()}
	if err != nil || at == "" || !decimalID.MatchString(id) {
		return i, err
	}
	if space := o.text("linkedSpaceId"); space != "" && space != q.Settings["space_id"] {
		return i, fmt.Errorf("%w: the list has an entity of the space %q", ErrAccount, space)
	}
	if i.Payload, err = json.Marshal(map[string]any{
		"entityId": jsontext.Value(id), "listenerEntityTechnicalName": entity, "state": state,
		"spaceId": jsontext.Value(q.Settings["space_id"]), "timestamp": t.UTC().Format("2006-01-02T15:04:05-0700"),
	}, json.Deterministic(true)); err != nil {
		return i, err
	}
	if entity == "Transaction" { // a refund in the list may have only the id of its transaction: it is fetched to be published
		i.Fetched = []schemas.Fetched{listedDocument(walleeRequest(name+"/"+id, "/payment/transactions/"+id, ""), wallee.host(q.API), body)}
	}
	return i, nil
}
