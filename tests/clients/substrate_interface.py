"""What py-substrate-interface does with a development node.

    python substrate_interface.py ws://127.0.0.1:PORT
"""

from substrateinterface import SubstrateInterface
from substrateinterface.exceptions import SubstrateRequestException

from checks import Checks, node_url
from development_keys import ed25519, sr25519

COINS = 1_000_000_000_000
METERS = 57
HEADS = 3
# More than a step before the present one, so that the call is in a block before the step begins.
STEPS_AHEAD = 3

url = node_url()
checks = Checks()
dso, bob, charlie = ed25519("//Dso"), ed25519("//Bob"), ed25519("//Charlie")
dave, eve, stranger = sr25519("//Dave"), sr25519("//Eve"), sr25519("//Stranger")


def connect():
    client = SubstrateInterface(url=url)
    assert client.chain == "Commonwatt Development", client.chain
    assert client.name == "commonwatt", client.name
    assert client.properties["ss58Format"] == client.ss58_format == 42, client.properties
    assert client.get_block_hash(0) == client.rpc_request("chain_getBlockHash", [0])["result"]
    return client


client = checks.run("it connects", connect)
if client is None:
    checks.finish()


def free(who, block=None):
    return client.query("System", "Account", [who.ss58_address], block_hash=block).value["data"]["free"]


def finalized(module, function, params, signer, **options):
    call = client.compose_call(module, function, params)
    extrinsic = client.create_signed_extrinsic(call, signer, **options)
    return client.submit_extrinsic(extrinsic, wait_for_finalization=True)


def events_of(receipt, module, name):
    return [
        event.value["event"]["attributes"]
        for event in receipt.triggered_events
        if (event.value["event"]["module_id"], event.value["event"]["event_id"]) == (module, name)
    ]


def refusal(extrinsic, **options):
    try:
        client.submit_extrinsic(extrinsic, **options)
    except SubstrateRequestException as error:
        return error.args[0]
    raise AssertionError("it was taken")


def reads_metadata():
    modules = {module["name"] for module in client.get_metadata_modules()}
    assert {"Registry", "EnergyToken", "VirtualMeter", "MarketStep", "Balances"} <= modules, modules
    version = client.get_constant("System", "Version").value
    assert version["spec_name"] == "commonwatt", version
    assert client.get_metadata_error("EnergyToken", "NotACryptometer") is not None
    timing = client.query("MarketStep", "Timing").value
    assert client.get_constant("Timestamp", "MinimumPeriod").value * 2 == timing["step_ms"], timing


def reads_values_and_maps():
    assert free(bob) == COINS
    assert client.query("Registry", "Roles", [dso.ss58_address]).value == "Dso"
    assert client.query("Registry", "Roles", [stranger.ss58_address]).value is None
    keys = [client.create_storage_key("System", "Account", [who.ss58_address]) for who in (bob, dave)]
    assert [value.value["data"]["free"] for _, value in client.query_multi(keys)] == [COINS, COINS]
    meters = {key.value: info.value for key, info in client.query_map("Registry", "Meters", page_size=20)}
    assert sorted(meters) == list(range(METERS)), sorted(meters)
    assert {info["kind"] for info in meters.values()} == {"Consumption", "Generation"}
    at_genesis = client.query_map("EnergyToken", "Readings", block_hash=client.get_block_hash(0))
    assert list(at_genesis) == []


def follows_heads():
    heads = []

    def handle(head, number, _):
        heads.append(head["header"])
        return heads if number == HEADS - 1 else None

    for finalized_only in (False, True):
        heads.clear()
        client.subscribe_block_headers(handle, finalized_only=finalized_only)
        numbers = [head["number"] for head in heads]
        assert numbers == list(range(numbers[0], numbers[0] + HEADS)), numbers
        for parent, head in zip(heads, heads[1:]):
            assert client.get_block_hash(parent["number"]) == head["parentHash"]


def follows_values():
    times = []

    def handle(time, number, _):
        times.append(time.value)
        return times if number == HEADS - 1 else None

    client.query("Timestamp", "Now", subscription_handler=handle)
    step_ms = client.query("MarketStep", "Timing").value["step_ms"]
    assert [later - earlier for earlier, later in zip(times, times[1:])] == [step_ms] * (HEADS - 1), times


def transfers(sender, receiver):
    amount = 1_234_567
    had = free(sender), free(receiver)
    receipt = finalized(
        "Balances", "transfer_keep_alive", {"dest": receiver.ss58_address, "value": amount}, sender, era={"period": 64})
    assert receipt.is_success, receipt.error_message
    assert receipt.finalized and receipt.block_hash
    [transfer] = events_of(receipt, "Balances", "Transfer")
    assert transfer == {"from": sender.ss58_address, "to": receiver.ss58_address, "amount": amount}, transfer
    assert events_of(receipt, "TransactionPayment", "TransactionFeePaid") == [], "free within the quota"
    assert (free(sender, receipt.block_hash), free(receiver, receipt.block_hash)) == (had[0] - amount, had[1] + amount)
    block = client.get_block(receipt.block_hash)
    signers = [extrinsic.value.get("address") for extrinsic in block["extrinsics"]]
    assert sender.ss58_address in signers, signers


def tells_fees():
    call = client.compose_call("Balances", "transfer_keep_alive", {"dest": charlie.ss58_address, "value": 5})
    info = client.get_payment_info(call, bob)
    assert info["partialFee"] > 0 and info["class"] == "Normal", info
    had, tip = free(bob), 1_000
    extrinsic = client.create_signed_extrinsic(call, bob, tip=tip)
    receipt = client.submit_extrinsic(extrinsic, wait_for_finalization=True)
    [paid] = events_of(receipt, "TransactionPayment", "TransactionFeePaid")
    assert paid["tip"] == tip, paid
    assert receipt.total_fee_amount == paid["actual_fee"]
    assert free(bob, receipt.block_hash) == had - 5 - paid["actual_fee"]


def decodes_reports():
    seen = []

    def handle(head, number, _):
        # The second head is a block that is made while we watch, with all meters connected.
        if number == 1:
            seen.append(head["header"]["number"])
            return seen
        return None

    client.subscribe_block_headers(handle, finalized_only=True)
    [step] = seen
    block = client.get_block_hash(step)
    reported = [
        event.value["event"]
        for event in client.get_events(block)
        if event.value["module_id"] == "EnergyToken" and event.value["event_id"].endswith("Reported")
    ]
    assert len(reported) == METERS, len(reported)
    sums = {"GenerationReported": 0, "ConsumptionReported": 0}
    for event in reported:
        assert event["attributes"]["step"] == step, event
        sums[event["event_id"]] += event["attributes"]["energy"]
    summary = client.rpc_request("energy_stepSummary", [step])["result"]
    assert (summary["generated"], summary["consumption"]) == tuple(sums.values()), (summary, sums)
    reports = [
        extrinsic.value for extrinsic in client.get_block(block)["extrinsics"]
        if extrinsic.value["call"]["call_function"] == "report"
    ]
    assert {report["address"] for report in reports} == {event["attributes"]["device"] for event in reported}


def own_device_reports():
    device, energy = ed25519("//clients//python//device"), 321
    commissioned = client.query("System", "Number").value + STEPS_AHEAD
    info = {
        "kind": "Consumption", "owner": bob.ss58_address, "beneficiary": bob.ss58_address, "class": "B",
        "pulses_per_kwh": 1_000, "capacity_w": 10_000, "loss": 0, "efficiency": 10_000, "storage_pair": None,
        "commissioned": commissioned, "retired": None,
    }
    receipt = finalized("Registry", "commission_meter", {"info": info, "device": device.ss58_address}, dso)
    assert receipt.is_success, receipt.error_message
    [added] = events_of(receipt, "Registry", "MeterCommissioned")
    report = {"step": commissioned, "reading": {"Pulses": energy}}
    receipt = finalized("EnergyToken", "report", {"sequence": 1, "report": report}, device)
    [event] = events_of(receipt, "EnergyToken", "ConsumptionReported")
    assert event == {
        "meter": added["meter"], "device": device.ss58_address, "step": commissioned, "sequence": 1, "energy": energy,
    }, event
    assert client.get_block_number(receipt.block_hash) == commissioned, "block s carries the readings of step s"


def refuses_strangers():
    call = client.compose_call("System", "remark", {"remark": "0x00"})
    extrinsic = client.create_signed_extrinsic(call, stranger)
    for options in ({}, {"wait_for_inclusion": True}):
        error = refusal(extrinsic, **options)
        assert error["code"] in (1010, 1012), error
        assert "account not registered: ask the DSO" in error["data"], error


def refuses_used_nonces():
    nonce = client.get_account_nonce(bob.ss58_address)
    assert nonce > 0
    call = client.compose_call("System", "remark", {"remark": "0x02"})
    error = refusal(client.create_signed_extrinsic(call, bob, nonce=0), wait_for_finalization=True)
    assert error["code"] == 1010 and f"nonce 0, expected {nonce}" in error["data"], error


def names_what_failed():
    report = {"step": 1, "reading": {"EnergyAdded": 1}}
    receipt = finalized("EnergyToken", "report", {"sequence": 1, "report": report}, charlie)
    assert not receipt.is_success
    assert receipt.error_message["type"] == "Module" and receipt.error_message["name"] == "NotACryptometer", (
        receipt.error_message)
    assert "not as a cryptometer" in " ".join(receipt.error_message["docs"]), receipt.error_message
    receipt = finalized("Registry", "register_member", {"who": stranger.ss58_address}, charlie)
    assert receipt.error_message["name"] == "BadOrigin", receipt.error_message


def calls_the_runtime():
    timing = client.rpc_request("energy_timing", [])["result"]
    nonce = client.runtime_call("AccountNonceApi", "account_nonce", [bob.ss58_address]).value
    assert nonce == client.get_account_nonce(bob.ss58_address)
    assert timing["stepMs"] == client.query("MarketStep", "Timing").value["step_ms"], timing


checks.run("it reads the metadata", reads_metadata)
checks.run("it reads values and maps", reads_values_and_maps)
checks.run("it follows heads", follows_heads)
checks.run("it follows values", follows_values)
checks.run("a transfer signed with ed25519 becomes final", lambda: transfers(bob, charlie))
checks.run("a transfer signed with sr25519 becomes final", lambda: transfers(dave, eve))
checks.run("it tells the fee, and a tip is charged", tells_fees)
checks.run("every cryptometer's report is decoded from the events of a block", decodes_reports)
checks.run("a meter that the DSO puts into service reports with a device of its own", own_device_reports)
checks.run("an unregistered account is refused with the reason and the mend", refuses_strangers)
checks.run("a used nonce is refused, and both nonces are named", refuses_used_nonces)
checks.run("a call that fails in its block is decoded by name", names_what_failed)
checks.run("it calls the runtime", calls_the_runtime)
checks.finish()
