//! Turns signed cryptometer reports into energy lots, one account of every watt-hour.
