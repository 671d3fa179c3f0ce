"""What py-substrate-interface does with the market of a development node, whose members do not trade by themselves.

    python substrate_interface_market.py ws://127.0.0.1:PORT
"""

from substrateinterface import SubstrateInterface
from substrateinterface.exceptions import SubstrateRequestException

from checks import Checks, node_url
from development_keys import ed25519, sr25519

# Steps ahead of the next open one: several transactions that are one after the other in blocks come before it.
STEPS_AHEAD = 8
UNITS = 100
LIMIT_MAX = 2**64 - 1

url = node_url()
checks = Checks()
dso, bob, charlie = ed25519("//Dso"), ed25519("//Bob"), ed25519("//Charlie")
dave, stranger = sr25519("//Dave"), sr25519("//Stranger")
# A household with a share in what is generated.
household = ed25519("//member//p01")
# What the trade left, for the checks after it.
traded = {}

client = checks.run("it connects", lambda: SubstrateInterface(url=url))
if client is None:
    checks.finish()


def ask(method, *parameters):
    return client.rpc_request(method, list(parameters))["result"]


def free(who):
    return client.query("System", "Account", [who.ss58_address]).value["data"]["free"]


def terms(side, step, limit, units, **more):
    when = {"Standing": {"until": None}} if step is None else {"Once": step}
    return {"side": side, "limit": limit, "units": units, "unit": 10, "when": when, "cap": "Quantity", **more}


def signed(module, function, params, signer):
    return client.create_signed_extrinsic(client.compose_call(module, function, params), signer)


def place(order, signer):
    return signed("DoubleAuction", "place", {"terms": order}, signer)


def cancel(order, signer):
    return signed("DoubleAuction", "cancel", {"id": order}, signer)


def finalized(extrinsic):
    receipt = client.submit_extrinsic(extrinsic, wait_for_finalization=True)
    assert receipt.is_success, receipt.error_message
    return receipt


def event_of(receipt, module, name):
    [attributes] = [
        event.value["event"]["attributes"]
        for event in receipt.triggered_events
        if (event.value["event"]["module_id"], event.value["event"]["event_id"]) == (module, name)
    ]
    return attributes


def text_of(order):
    return f"standing-{order['number']}" if order["step"] == 0 else f"{order['step']}-{order['number']}"


def placed(order, signer):
    """Places an order and returns its id."""
    event = event_of(finalized(place(order, signer)), "DoubleAuction", "OrderPlaced")
    assert event["who"] == signer.ss58_address, event
    return event["id"]


def next_step():
    """The first step that an order in the next block can be for."""
    return ask("market_rules")["nextStep"]


def refusal(extrinsic):
    try:
        client.submit_extrinsic(extrinsic)
    except SubstrateRequestException as error:
        return error.args[0]
    raise AssertionError("it was taken")


def knows_the_market():
    rules = ask("market_rules")
    assert rules["unit"] == client.query("DoubleAuction", "Unit").value == 10, rules
    assert rules["ordersMax"] == client.get_constant("DoubleAuction", "MaxOrders").value, rules
    assert rules["mechanisms"] == [{"fromStep": 1, "mechanism": {"name": "average"}}], rules
    assert client.get_metadata_error("DoubleAuction", "GateClosed") is not None


def places_replaces_and_cancels():
    step = next_step() + 20
    order = placed(terms("Buy", step, 7, UNITS), charlie)
    orders = ask("market_orders", charlie.ss58_address)
    assert [(open_["id"], open_["status"]) for open_ in orders["open"]] == [(text_of(order), "open")], orders
    assert orders["held"] == "700", orders
    book = ask("market_orderBook", step)
    assert [own["limit"] for own in book["orders"] if own["owner"] == charlie.ss58_address] == ["7"], book

    receipt = finalized(signed("DoubleAuction", "replace", {"id": order, "limit": 8, "units": 50}, charlie))
    event = event_of(receipt, "DoubleAuction", "OrderReplaced")
    assert event["old"] == order, event
    assert ask("market_orders", charlie.ss58_address)["held"] == "400"
    finalized(cancel(event["new"], charlie))
    orders = ask("market_orders", charlie.ss58_address)
    assert (orders["held"], orders["open"]) == ("0", []), orders


def watches_a_fill():
    step = next_step() + STEPS_AHEAD
    device = ed25519("//clients//python-market//device")
    # A generator that makes sure that the household has something left to sell.
    info = {
        "kind": "Generation", "owner": bob.ss58_address, "beneficiary": bob.ss58_address, "class": "B",
        "pulses_per_kwh": 1_000, "capacity_w": 100_000_000, "loss": 0, "efficiency": 10_000, "storage_pair": None,
        "commissioned": step, "retired": None,
    }
    meter = {"info": info, "device": device.ss58_address}
    finalized(signed("Registry", "commission_meter", meter, dso))
    had = free(bob)
    bought = placed(terms("Buy", step, 50, UNITS), bob)
    placed(terms("Sell", step, 1, UNITS), household)
    assert free(bob) == had - 50 * UNITS, "the coins are on hold"
    report = {"step": step, "reading": {"Interval": {"energy": 1_000_000, "version": 1, "quality": "Measured"}}}
    # Its step has not closed: it waits in the pool.
    client.submit_extrinsic(signed("EnergyToken", "report", {"sequence": 1, "report": report}, device))
    assert client.get_block_number(client.get_chain_head()) < step, "the watch begins before the step closes"

    def handle(message, _, __):
        fill = message["params"]["result"]
        return fill if fill["step"] == step else None

    fill = client.rpc_request("market_subscribeFills", [bob.ss58_address], result_handler=handle)
    assert (fill["state"], fill["bought"], fill["sold"]) == ("cleared", UNITS, 0), fill
    assert [order["id"] for order in fill["orders"]] == [text_of(bought)], fill
    paid = int(fill["paid"])
    assert UNITS <= paid <= 50 * UNITS, fill
    assert free(bob) == had - paid, "what was not needed is free again"

    clearing = ask("market_clearing", step)
    assert int(clearing["price"]) * UNITS == paid, clearing
    assert (clearing["proof"]["k"], clearing["volumeUnits"]) == (clearing["k"], UNITS), clearing
    [trade] = [trade for trade in clearing["trades"]["items"] if trade["buyer"] == bob.ss58_address]
    assert trade["seller"] == household.ss58_address, trade
    [event] = [
        event.value["event"]["attributes"] for event in client.get_events(client.get_block_hash(step))
        if event.value["event_id"] == "MemberTraded" and event.value["event"]["attributes"]["who"] == bob.ss58_address
    ]
    assert (event["bought"], event["paid"]) == (10 * UNITS, paid), event
    assert ask("loyalty_get", bob.ss58_address)["millionths"] > 1_000_000
    traded["order"] = bought


def refuses_wrong_orders():
    open_order = placed(terms("Buy", next_step() + 40, 3, 1), charlie)
    step = next_step() + 10
    now = client.query("System", "Number").value
    cases = [
        (place(terms("Buy", step, 10**12, 2), dave), "DoubleAuction.NotEnoughCoins: ", "are free."),
        (place(terms("Buy", step, LIMIT_MAX, 2**32 - 1), dave), "DoubleAuction.NotEnoughCoins: ", ""),
        (place(terms("Buy", step, 1, 1, unit=100), dave), "DoubleAuction.WrongUnit: ", "The unit is 10 Wh."),
        (place(terms("Sell", now, 1, 1), dave), "DoubleAuction.GateClosed: ", "takes orders for steps"),
        (place(terms("Sell", now + 200, 1, 1), dave), "DoubleAuction.TooFarAhead: ", ""),
        (place(terms("Sell", step, 1, 1), dso), "DoubleAuction.NotAMember: ", "ask the DSO"),
        (place(terms("Sell", step, 1, 1), stranger), "account not registered", "ask the DSO"),
        (place(terms("Buy", step, 1, 0), dave), "DoubleAuction.NothingOrdered: ", ""),
        (place(terms("Buy", step, 0, 1), dave), "DoubleAuction.LimitIsZero: ", ""),
        (place(terms("Sell", step, LIMIT_MAX + 1, 1), dave), "DoubleAuction.LimitTooHigh: ", ""),
        (cancel(open_order, dave), "DoubleAuction.NotYourOrder: ", ""),
        (cancel({"step": step, "number": 4_000_000}, dave), "DoubleAuction.UnknownOrder: ", "no such order"),
        (cancel(traded["order"], bob), "DoubleAuction.GateClosed: ", "fixed by the block before"),
    ]
    for extrinsic, name, words in cases:
        error = refusal(extrinsic)
        assert error["code"] == 1010, error
        assert name in error["data"] and words in error["data"], (name, error)
    assert ask("market_orders", dave.ss58_address)["open"] == []
    finalized(cancel(open_order, charlie))


checks.run("it knows the market by its metadata and its rules", knows_the_market)
checks.run("an order is placed, seen, replaced and cancelled, and its coins come back", places_replaces_and_cancels)
checks.run("an order is filled while its owner watches", watches_a_fill)
checks.run("a wrong order is refused at once, with the reason and the mend", refuses_wrong_orders)
checks.finish()
